// The words of the admin console's commands, by SQL's lexical rules: names fold nothing (PgBouncer compares them as they
// are), strings stand in single quotes, comments are blanks, semicolons separate commands.
import { pgError } from '../../core/errors.ts'

/** A value that stands in the text, or parameter number `param` (from 1) of the extended protocol. */
export type Argument = { readonly text: string } | { readonly param: number }

/** One command. An empty one has a name of ''. */
export type Command = {
  /** Lower case. */
  readonly name: string
  readonly args: readonly Argument[]
  /** As it was written, for messages. */
  readonly text: string
}

const token =
  /\s+|--[^\n]*|\/\*[^]*?\*\/|(?<param>\$\d+)|(?<name>"(?:[^"]|"")*")|(?<string>'(?:[^']|'')*')|(?<word>[\p{L}\d_.$%*+-]+)|(?<sign>[;=])/uy
const textMax = 64

/** Commands of a string, empty ones left out but for a string of nothing else. @throws PgError 42601 */
export function commandsOf(sql: string): readonly Command[] {
  const commands: Command[] = []
  let args: Argument[] = []
  let start = 0
  const end = (at: number) => {
    if (args.length > 0) commands.push(commandOf(args, sql.slice(start, at).trim()))
    args = []
    start = at + 1
  }
  for (const { text, kind, at } of tokens(sql)) {
    if (text === ';' && kind === 'sign') end(at)
    else args.push(kind === 'param' ? { param: Number(text.slice(1)) } : { text })
  }
  end(sql.length)
  return commands
}

/** Highest number of a parameter; 0 without any. */
export function paramCountOf(commands: readonly Command[]): number {
  const numbers = commands.flatMap(({ args }) =>
    args.map((arg) => ('param' in arg ? arg.param : 0)),
  )
  return Math.max(0, ...numbers)
}

/** The command as messages name it: not longer than a line. */
function shownText(text: string): string {
  return text.length > textMax ? `${text.slice(0, textMax)}…` : text
}

type Token = {
  readonly text: string
  readonly kind: 'param' | 'text' | 'sign'
  readonly at: number
}

function* tokens(sql: string): Generator<Token> {
  token.lastIndex = 0
  for (let at = 0; at < sql.length; at = token.lastIndex) {
    token.lastIndex = at
    const groups = token.exec(sql)?.groups
    if (groups === undefined) throw pgError('adminCommandUnknown', [shownText(sql.trim())])
    const { param, name, string, word, sign } = groups
    if (param !== undefined) yield { text: param, kind: 'param', at }
    else if (name !== undefined) yield { text: unquoted(name, '"'), kind: 'text', at }
    else if (string !== undefined) yield { text: unquoted(string, "'"), kind: 'text', at }
    else if (word !== undefined) yield { text: word, kind: 'text', at }
    else if (sign !== undefined) yield { text: sign, kind: 'sign', at }
  }
}

function commandOf([first, ...rest]: readonly Argument[], text: string): Command {
  if (first === undefined || 'param' in first)
    throw pgError('adminCommandUnknown', [shownText(text)])
  return { name: first.text.toLowerCase(), args: rest, text: shownText(text) }
}

function unquoted(text: string, quote: string): string {
  return text.slice(1, -1).replaceAll(`${quote}${quote}`, quote)
}
