// Reads `.wire` scripts: a line per client message or wait, `#` for comments and directives.
// test/scripts/README.md describes the language; wire-run.ts plays a script at a server.
import { tokensOf, type Tokens } from './wire-tokens.ts'
import {
  bindBytes,
  type BindParameter,
  executeBytes,
  frontendMessage,
  functionCallBytes,
  parseBytes,
  targetBytes,
  textBytes,
} from './frontend-bytes.ts'
import type { StartupWish } from './raw-login.ts'

/**
 * What ends a wait: the count-th message of a type, any `count` messages, or the connection's end.
 */
export type WaitGoal =
  | { readonly kind: 'type'; readonly code: string; readonly count: number }
  | { readonly kind: 'any'; readonly count: number }
  | { readonly kind: 'close' }

/**
 * One thing that a script does; messages are held back until the next step that is not a message.
 */
export type Step =
  | { readonly kind: 'message'; readonly line: string; readonly bytes: Buffer }
  | { readonly kind: 'send' }
  | { readonly kind: 'wait'; readonly line: string; readonly goal: WaitGoal }
  | { readonly kind: 'split'; readonly chunkBytes: number }
  | { readonly kind: 'startup'; readonly line: string; readonly wish: StartupWish }
  | { readonly kind: 'cancel'; readonly line: string; readonly afterMs: number }
  | { readonly kind: 'pause'; readonly ms: number }
  | { readonly kind: 'on'; readonly line: string; readonly connection: string }

/** A script as read from its file. */
export type WireScript = {
  readonly name: string
  /** SQL run before, one simple Query each; its answers are not compared. */
  readonly setup: readonly string[]
  /** Also played through three shards. */
  readonly sharded: boolean
  /** DataRows that follow each other are compared as a multiset. */
  readonly unordered: boolean
  /** Letters of error fields that may differ; the script says why. */
  readonly differs: string
  /** Played on servers of this major version and later. */
  readonly versionMin: number
  /** False for conversations that would slow the fuzz test down. */
  readonly fuzz: boolean
  readonly steps: readonly Step[]
}

/** Parses the text of a script. @throws Error with name and line number where it is not one. */
export function parseWireScript(name: string, text: string): WireScript {
  const lines = text.split('\n')
  const directive = (key: string): string[] =>
    lines.filter((line) => line.startsWith(`# ${key}: `)).map((line) => line.slice(key.length + 4))
  return {
    name,
    setup: directive('setup'),
    sharded: directive('sharded').includes('yes'),
    unordered: directive('rows').includes('unordered'),
    differs: directive('differs')
      .map((value) => value.split(' ')[0])
      .join(''),
    versionMin: Number(directive('version')[0] ?? 0),
    fuzz: !directive('fuzz').includes('no'),
    steps: expandRepeats(name, lines).map(({ line, number }) => {
      try {
        return parseStep(line)
      } catch (error) {
        throw new Error(`${name}.wire:${number}: ${line}`, { cause: error })
      }
    }),
  }
}

type Line = { readonly line: string; readonly number: number }

/** Unrolls `repeat N` … `end`; `${i}` in between becomes 1, 2, … N. */
function expandRepeats(name: string, lines: readonly string[]): Line[] {
  const out: Line[] = []
  let block: { times: number; lines: Line[] } | undefined
  for (const [index, raw] of lines.entries()) {
    const line = { line: raw.trim(), number: index + 1 }
    if (line.line === '' || line.line.startsWith('#')) continue
    const repeat = /^repeat (\d+)$/.exec(line.line)
    if (repeat !== null) {
      block = { times: Number(repeat[1]), lines: [] }
    } else if (line.line === 'end' && block !== undefined) {
      for (let i = 1; i <= block.times; i += 1) {
        out.push(...block.lines.map((l) => ({ ...l, line: l.line.replaceAll('${i}', String(i)) })))
      }
      block = undefined
    } else {
      ;(block?.lines ?? out).push(line)
    }
  }
  if (block !== undefined) throw new Error(`${name}.wire: repeat without end`)
  return out
}

function parseStep(line: string): Step {
  const tokens = tokensOf(line)
  const step = stepOf(tokens.word(), tokens, line)
  tokens.end()
  return step
}

function stepOf(keyword: string, tokens: Tokens, line: string): Step {
  const message = messages[keyword]
  if (message !== undefined) return { kind: 'message', line, bytes: message(tokens) }
  const control = controls[keyword]
  if (control !== undefined) return control(tokens, line)
  throw new Error(`unknown step "${keyword}"`)
}

const controls: Readonly<Record<string, (tokens: Tokens, line: string) => Step>> = {
  send: () => ({ kind: 'send' }),
  wait: (tokens, line) => ({ kind: 'wait', line, goal: parseGoal(tokens) }),
  split: (tokens) => ({ kind: 'split', chunkBytes: tokens.integer() }),
  pause: (tokens) => ({ kind: 'pause', ms: milliseconds(tokens.word()) }),
  on: (tokens, line) => ({ kind: 'on', line, connection: tokens.word() }),
  cancel: (tokens, line) => {
    tokens.keyword('after')
    return { kind: 'cancel', line, afterMs: milliseconds(tokens.word()) }
  },
  startup: (tokens, line) => ({ kind: 'startup', line, wish: parseStartup(tokens) }),
}

function milliseconds(text: string): number {
  const found = /^(\d+)ms$/.exec(text)
  if (found === null) throw new Error(`not a time in ms: ${text}`)
  return Number(found[1])
}

/**
 * `wait ready [N]`, `wait flush N`, `wait close`, `wait copy`, `wait suspended`, `wait
 * notification`.
 */
function parseGoal(tokens: Tokens): WaitGoal {
  const what = tokens.word()
  if (what === 'close') return { kind: 'close' }
  const count = tokens.more() ? tokens.integer() : 1
  if (what === 'flush') return { kind: 'any', count }
  const codes: Readonly<Record<string, string>> = {
    ready: 'Z',
    copy: 'G',
    suspended: 's',
    notification: 'A',
    error: 'E',
  }
  const code = codes[what]
  if (code === undefined) throw new Error(`cannot wait for "${what}"`)
  return { kind: 'type', code, count }
}

/** `startup protocol=3.2 name=value name="value with spaces" …`. */
function parseStartup(tokens: Tokens): StartupWish {
  const parameters: [string, string][] = []
  let minor = 0
  while (tokens.more()) {
    const [name = '', inline = ''] = tokens.word().split('=', 2)
    const value = inline === '' ? tokens.text().toString() : inline
    if (name === 'protocol') minor = Number(value.replace('3.', ''))
    else parameters.push([name, value])
  }
  return { minor, parameters }
}

const messages: Readonly<Record<string, (tokens: Tokens) => Buffer>> = {
  Query: (tokens) => textBytes('Q', tokens.text()),
  Parse: (tokens) => {
    const name = tokens.text()
    const sql = tokens.text()
    return parseBytes(name, sql, tokens.more() ? tokens.list(() => tokens.integer()) : [])
  },
  Bind: (tokens) => {
    const portal = tokens.text()
    const statement = tokens.text()
    const parameters = tokens.more() ? tokens.list(() => parseParameter(tokens)) : []
    const results = tokens.more() ? tokens.list(() => formatCode(tokens.word())) : []
    return bindBytes(portal, statement, parameters, results)
  },
  Describe: (tokens) => targetBytes('D', tokens.word(), tokens.text()),
  Close: (tokens) => targetBytes('C', tokens.word(), tokens.text()),
  Execute: (tokens) => executeBytes(tokens.text(), tokens.more() ? tokens.integer() : 0),
  Sync: () => frontendMessage('S'),
  Flush: () => frontendMessage('H'),
  Terminate: () => frontendMessage('X'),
  CopyData: (tokens) => frontendMessage('d', tokens.text()),
  CopyDone: () => frontendMessage('c'),
  CopyFail: (tokens) => textBytes('f', tokens.text()),
  FunctionCall: (tokens) => {
    const oid = tokens.integer()
    const parameters = tokens.list(() => parseParameter(tokens))
    return functionCallBytes(oid, parameters, formatCode(tokens.word()))
  },
  Raw: (tokens) => tokens.text(),
}

const formatCode = (word: string): 0 | 1 => {
  if (word !== 'text' && word !== 'binary') throw new Error(`not a format: ${word}`)
  return word === 'text' ? 0 : 1
}

/** `text "42"`, `binary "\x00\x2a"` or `null`. */
function parseParameter(tokens: Tokens): BindParameter {
  const word = tokens.word()
  if (word === 'null') return { format: 0, value: null }
  return { format: formatCode(word), value: tokens.text() }
}
