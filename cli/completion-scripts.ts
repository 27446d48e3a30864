// Completion scripts of bash, zsh and fish. Each walks the words typed so far from command to command (`at`), stepping
// over values of options, and then offers what may follow there. Pure.
import type { Place, Value } from './completion.ts'

/** Needs bash 3.2, not bash-completion. */
export function bashScript(places: readonly Place[]): string {
  const program = programOf(places)
  const values = valueCases(places, bashValue)
  const offers = places.map((place) => {
    const { path, options, commands } = place
    const words = [...commands.map(({ name }) => name), ...choicesOf(place)].join(' ')
    const files = place.values.some(({ kind }) => kind === 'files') ? 'files=1' : 'files='
    const names = options.flatMap(({ names }) => names).join(' ')
    return `    ${quoted(path)}) words=${quoted(words)} options=${quoted(names)} ${files} ;;`
  })
  return `# bash completion of ${program}; load it with: source <(${program} completion bash)
_${program}() {
  local IFS=$' \\t\\n' cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]}
  local at=${program} skip= word words= options= files= i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ -n $skip ]]; then skip=; continue; fi
    case "$at $word" in
${walkCases(places, '      ')}
    esac
  done
  # bash takes --option=value apart.
  if [[ $cur == '=' ]]; then cur=; elif [[ $prev == '=' ]]; then prev=\${COMP_WORDS[COMP_CWORD-2]}; fi
  COMPREPLY=()
  case "$at $prev" in
${values.join('\n')}
  esac
  case "$at" in
${offers.join('\n')}
  esac
  if [[ $cur == -* ]]; then words=$options; fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  if [[ -n $files && $cur != -* ]]; then
    IFS=$'\\n'
    COMPREPLY+=($(compgen -f -- "$cur"))
    compopt -o filenames 2>/dev/null
  fi
}
complete -F _${program} ${program}
`
}

/** Works from a file in fpath, and when it is sourced. */
export function zshScript(places: readonly Place[]): string {
  const program = programOf(places)
  const values = valueCases(places, zshValue)
  const offers = places.map((place) => {
    const { path, commands, options } = place
    const commandWords = commands.map(({ name, about }) => zshWord(name, about))
    const optionWords = options.flatMap(({ names, about }) =>
      names.map((name) => zshWord(name, about)),
    )
    const choices = choicesOf(place).map((choice) => zshWord(choice, ''))
    const files = place.values.some(({ kind }) => kind === 'files') ? ' files=1' : ''
    return `    ${quoted(path)})
      commands=(${[...commandWords, ...choices].join(' ')})
      options=(${optionWords.join(' ')})${files} ;;`
  })
  return `#compdef ${program}
# zsh completion of ${program}; load it with: source <(${program} completion zsh)
_${program}() {
  local at=${program} skip= files= word cur=\${words[CURRENT]} prev=\${words[CURRENT-1]}
  local -a commands options
  local -i i
  for ((i = 2; i < CURRENT; i++)); do
    word=\${words[i]}
    if [[ -n $skip ]]; then skip=; continue; fi
    case "$at $word" in
${walkCases(places, '      ')}
    esac
  done
  case "$at $prev" in
${values.join('\n')}
  esac
  case "$at" in
${offers.join('\n')}
  esac
  if [[ $cur == -* ]]; then
    _describe option options
    return
  fi
  (( \${#commands} )) && _describe command commands
  [[ -n $files ]] && _files
}
if [[ \${funcstack[1]} == _${program} ]]; then _${program} "$@"; else compdef _${program} ${program}; fi
`
}

/** Needs fish 3. */
export function fishScript(places: readonly Place[]): string {
  const program = programOf(places)
  const lines = places.flatMap((place) => {
    const start = `complete -c ${program} -n 'test (__${program}_at) = ${fishQuoted(place.path)}'`
    const described = (about: string) => (about === '' ? '' : ` -d ${fishQuoted(about)}`)
    return [
      ...place.commands.map(({ name, about }) => `${start} -a ${name}${described(about)}`),
      ...choicesOf(place).map((choice) => `${start} -a ${fishQuoted(choice)}`),
      ...(place.values.some(({ kind }) => kind === 'files') ? [`${start} -F`] : []),
      ...place.options.map(({ names, value, about }) => {
        const flags = names.map((name) =>
          name.startsWith('--') ? ` -l ${name.slice(2)}` : ` -s ${name.slice(1)}`,
        )
        return `${start}${flags.join('')}${fishValue(value)}${described(about)}`
      }),
    ]
  })
  return `# fish completion of ${program}; load it with: ${program} completion fish | source
function __${program}_at
  set -l at ${program}
  set -l skip
  set -l typed (commandline -opc)
  set -e typed[1]
  for word in $typed
    if test -n "$skip"
      set skip
      continue
    end
    switch "$at $word"
      case ${deeper(places).map(quoted).join(' ')}
        set at "$at $word"
      case ${valueTakers(places).map(quoted).join(' ')}
        set skip 1
    end
  end
  echo $at
end
complete -c ${program} -f
${lines.join('\n')}
`
}

function programOf(places: readonly Place[]): string {
  return places[0]?.path ?? ''
}

/** Paths of commands as they are come to: where one is, and the next word. */
function deeper(places: readonly Place[]): readonly string[] {
  return places.slice(1).map(({ path }) => path)
}

function valueTakers(places: readonly Place[]): readonly string[] {
  return places.flatMap(({ path, options }) =>
    options
      .filter(({ value }) => value !== null)
      .flatMap(({ names }) => names.map((name) => `${path} ${name}`)),
  )
}

function walkCases(places: readonly Place[], indent: string): string {
  const paths = deeper(places).map(quoted)
  const takers = valueTakers(places).map(quoted)
  const between = ` | \\\n${indent}`
  return `${indent}${paths.join(between)})
${indent}  at="$at $word" ;;
${indent}${takers.join(between)})
${indent}  skip=1 ;;`
}

/** What is done behind an option with a value, as cases of the option's place; one for all that do the same. */
function valueCases(places: readonly Place[], act: (value: Value) => string): readonly string[] {
  const patterns = new Map<string, string[]>()
  for (const { path, options } of places) {
    for (const { names, value } of options) {
      if (value === null) continue
      const action = act(value)
      const same = patterns.get(action) ?? []
      patterns.set(action, same)
      same.push(...names.map((name) => quoted(`${path} ${name}`)))
    }
  }
  return [...patterns].map(([action, each]) => {
    return `    ${each.join(' | \\\n    ')})\n      ${action}\n      return ;;`
  })
}

function choicesOf({ values }: Place): readonly string[] {
  return values.flatMap((value) => (value.kind === 'choices' ? value.choices : []))
}

function bashValue(value: Value): string {
  switch (value.kind) {
    case 'files':
      return `IFS=$'\\n'; COMPREPLY=($(compgen -f -- "$cur")); compopt -o filenames 2>/dev/null`
    case 'directories':
      return `IFS=$'\\n'; COMPREPLY=($(compgen -d -- "$cur")); compopt -o filenames 2>/dev/null`
    case 'choices':
      return `COMPREPLY=($(compgen -W ${quoted(value.choices.join(' '))} -- "$cur"))`
    case 'text':
      return ':'
  }
}

function zshValue(value: Value): string {
  if (value.kind === 'files') return '_files'
  if (value.kind === 'directories') return '_files -/'
  return value.kind === 'choices' ? `compadd ${value.choices.map(quoted).join(' ')}` : ':'
}

function fishValue(value: Value | null): string {
  if (value === null) return ''
  if (value.kind === 'files' || value.kind === 'directories') return ' -r -F'
  return value.kind === 'choices' ? ` -x -a ${fishQuoted(value.choices.join(' '))}` : ' -x'
}

/** `word:description` for _describe, which reads a colon of the word as `\:`. */
function zshWord(word: string, about: string): string {
  const escaped = word.replaceAll(':', '\\:')
  return quoted(about === '' ? escaped : `${escaped}:${about}`)
}

/** For bash and zsh, and for fish where nothing is to be escaped. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

function fishQuoted(text: string): string {
  return `"${text.replaceAll(/[\\"$]/g, '\\$&').replaceAll("'", '’')}"`
}
