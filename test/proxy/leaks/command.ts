// What a client of the leak checker sends at a time: messages of which the last is answered by ReadyForQuery.
import {
  type BindParameter,
  bindBytes,
  executeBytes,
  frontendMessage,
  functionCallBytes,
  parseBytes,
  targetBytes,
  textBytes,
} from '../../support/frontend-bytes.ts'

/** One message, or the few that belong together. */
export type Message =
  | { readonly kind: 'query'; readonly sql: string }
  | { readonly kind: 'parse'; readonly name: string; readonly sql: string }
  | {
      readonly kind: 'bind'
      readonly portal: string
      readonly name: string
      readonly params: readonly string[]
    }
  | { readonly kind: 'describe' | 'close'; readonly what: 'S' | 'P'; readonly name: string }
  /** `rowsMax`: 0 for all. */
  | { readonly kind: 'execute'; readonly portal: string; readonly rowsMax: number }
  | { readonly kind: 'data'; readonly rows: string }
  | { readonly kind: 'done' | 'fail' | 'flush' | 'sync' }
  /** A function by its name; `values` as SQL would write them. */
  | {
      readonly kind: 'call'
      readonly name: string
      readonly types: readonly ArgumentType[]
      readonly values: readonly string[]
      readonly binary: boolean
    }

/** Type of a function's argument. */
export type ArgumentType = 'text' | 'bool' | 'int4' | 'int8'

/** `what` is the kind of step that it counts to. */
export type Command = { readonly what: string; readonly messages: readonly Message[] }

/** Numbers of functions by name. */
export type Oids = ReadonlyMap<string, number>

/** A query string. */
export function query(what: string, sql: string): Command {
  return { what, messages: [{ kind: 'query', sql }] }
}

/** Parse, Bind and Execute of an unnamed statement, without Sync. */
export function execution(
  sql: string,
  { params = [], rowsMax = 0, portal = '' }: Execution = {},
): readonly Message[] {
  return [
    { kind: 'parse', name: '', sql },
    { kind: 'bind', portal, name: '', params },
    { kind: 'execute', portal, rowsMax },
  ]
}

type Execution = {
  readonly params?: readonly string[]
  readonly rowsMax?: number
  readonly portal?: string
}

/** The command's bytes where functions have these numbers. */
export function messagesOf({ messages }: Command, oids: Oids): Buffer {
  return Buffer.concat(messages.map((message) => bytesOf(message, oids)))
}

/** All SQL of the command. */
export function textOf({ messages }: Command): string {
  return messages.map((message) => ('sql' in message ? message.sql : '')).join('\n')
}

function bytesOf(message: Message, oids: Oids): Buffer {
  switch (message.kind) {
    case 'query':
      return textBytes('Q', message.sql)
    case 'parse':
      return parseBytes(Buffer.from(message.name), Buffer.from(message.sql), [])
    case 'bind': {
      const params = message.params.map((text) => ({
        format: 0 as const,
        value: Buffer.from(text),
      }))
      return bindBytes(Buffer.from(message.portal), Buffer.from(message.name), params, [])
    }
    case 'describe':
      return targetBytes('D', message.what, Buffer.from(message.name))
    case 'close':
      return targetBytes('C', message.what, Buffer.from(message.name))
    case 'execute':
      return executeBytes(Buffer.from(message.portal), message.rowsMax)
    case 'data':
      return frontendMessage('d', Buffer.from(message.rows))
    case 'done':
      return frontendMessage('c')
    case 'fail':
      return textBytes('f', 'the client has had enough')
    case 'flush':
      return frontendMessage('H')
    case 'sync':
      return frontendMessage('S')
    case 'call': {
      const { name, types, values, binary } = message
      const params = values.map((value, at) => argument(types[at] ?? 'text', value, binary))
      return functionCallBytes(oids.get(name) ?? 0, params, binary ? 1 : 0)
    }
  }
}

function argument(type: ArgumentType, text: string, binary: boolean): BindParameter {
  if (!binary) return { format: 0, value: Buffer.from(text) }
  return { format: 1, value: binaryOf(type, text) }
}

function binaryOf(type: ArgumentType, text: string): Buffer {
  switch (type) {
    case 'text':
      return Buffer.from(text)
    case 'bool':
      return Buffer.of(text === 't' ? 1 : 0)
    case 'int4': {
      const bytes = Buffer.alloc(4)
      bytes.writeInt32BE(Number(text))
      return bytes
    }
    case 'int8': {
      const bytes = Buffer.alloc(8)
      bytes.writeBigInt64BE(BigInt(text))
      return bytes
    }
  }
}
