// `ringfence completion`: what can be completed where, read from the command line's own tree of commands and
// options, so that a new one is completed without anything being done for it here.
import type { Argument, Command, Option } from 'commander'
import { bashScript, fishScript, zshScript } from './completion-scripts.ts'

/** Shells for which there is a script. */
export const shells = ['bash', 'zsh', 'fish'] as const

/** What a value is completed with; `text`: nobody can know. */
export type Value =
  | { readonly kind: 'files' }
  | { readonly kind: 'directories' }
  | { readonly kind: 'choices'; readonly choices: readonly string[] }
  | { readonly kind: 'text' }

/** An option; `value` null: it takes none. */
type CompletedOption = {
  /** With their hyphens, short one first. */
  readonly names: readonly string[]
  readonly value: Value | null
  readonly about: string
}

/** What may follow one command, or one group of commands. */
export type Place = {
  /** From the program's name on, such as `ringfence shard pause`. */
  readonly path: string
  readonly commands: readonly { readonly name: string; readonly about: string }[]
  readonly options: readonly CompletedOption[]
  readonly values: readonly Value[]
}

/** The script for `shell` that completes `program`. */
export function completionScript(program: Command, shell: (typeof shells)[number]): string {
  const places = placesOf(program, program.name())
  if (shell === 'bash') return bashScript(places)
  return shell === 'zsh' ? zshScript(places) : fishScript(places)
}

function placesOf(command: Command, path: string): readonly Place[] {
  const help = command.createHelp()
  const children = help.visibleCommands(command)
  const place = {
    path,
    commands: children.map((child) => ({ name: child.name(), about: child.description() })),
    options: help.visibleOptions(command).map(optionOf),
    values: command.registeredArguments.map(valueOf),
  }
  return [place, ...children.flatMap((child) => placesOf(child, `${path} ${child.name()}`))]
}

function optionOf(option: Option): CompletedOption {
  const names = [option.short, option.long].filter((name) => name !== undefined && name !== null)
  const takesValue = option.required || option.optional
  return { names, value: takesValue ? valueOf(option) : null, about: option.description }
}

/** The name in the help says what kind of value it is: `<file>`, `[dir]`. */
function valueOf(taker: Option | Argument): Value {
  const choices = taker.argChoices
  if (choices !== undefined) return { kind: 'choices', choices }
  const name = 'flags' in taker ? taker.flags : taker.name()
  if (/\bfile\b/.test(name)) return { kind: 'files' }
  return { kind: /\b(?:dir|bin)\b/.test(name) ? 'directories' : 'text' }
}
