// The bytes of Redis' protocol (https://redis.io/docs/latest/develop/reference/protocol-spec/), versions 2 and 3: a
// parser of commands and a writer of replies. A string here holds one byte per character (latin1), so that
// keys and values may be any bytes.

/** A reply: bulk string, integer, null, array, or one of the forms that need a name. */
export type Reply =
  | string
  | number
  | null
  | readonly Reply[]
  | { readonly status: string }
  | { readonly error: string }
  | { readonly pairs: readonly (readonly [string, Reply])[] }
  /** Out of turn, to a subscriber. */
  | { readonly pushed: readonly Reply[] }

export type ProtocolVersion = 2 | 3

/** The bytes are no command; Redis' own words. The connection is of no use any more. */
export class ProtocolError extends Error {}

const inlineBytesMax = 64 * 1024
const bulkBytesMax = 1024 * 1024
const argumentsMax = 32 * 1024
const commandBytesMax = 16 * 1024 * 1024

/** Makes commands of the bytes of one connection, however they are cut. */
export class CommandParser {
  #pending: Buffer = Buffer.alloc(0)
  #at = 0
  /** Of the command under way; null between two. */
  #words: string[] | null = null
  #expected = 0
  #commandBytes = 0
  #bulkBytes = -1

  /** Takes bytes as they come. */
  feed(chunk: Uint8Array): void {
    this.#pending = Buffer.concat([this.#pending.subarray(this.#at), chunk])
    this.#at = 0
  }

  /** The next command, never an empty one; undefined: not all of it has come. @throws ProtocolError */
  next(): readonly string[] | undefined {
    for (;;) {
      const command = this.#words === null ? this.#begin() : this.#continue(this.#words)
      if (command?.length !== 0) return command
    }
  }

  /** The first line of a command. Undefined: incomplete; empty: nothing to run. */
  #begin(): readonly string[] | undefined {
    if (this.#at >= this.#pending.length) return undefined
    if (this.#pending[this.#at] !== 0x2a) return this.#inline()
    const line = this.#line('too big mbulk count string')
    if (line === undefined) return undefined
    const count = integerOf(line.slice(1))
    if (count === undefined || count > argumentsMax) {
      throw new ProtocolError('invalid multibulk length')
    }
    if (count <= 0) return []
    this.#words = []
    this.#expected = count
    this.#commandBytes = 0
    return this.#continue(this.#words)
  }

  #continue(words: string[]): readonly string[] | undefined {
    while (words.length < this.#expected) {
      if (this.#bulkBytes < 0 && !this.#beginBulk()) return undefined
      const end = this.#at + this.#bulkBytes
      // Redis too skips the two bytes after a string without a look at them.
      if (this.#pending.length < end + 2) return undefined
      words.push(this.#pending.toString('latin1', this.#at, end))
      this.#at = end + 2
      this.#bulkBytes = -1
    }
    this.#words = null
    return words
  }

  #beginBulk(): boolean {
    const line = this.#line('too big bulk count string')
    if (line === undefined) return false
    if (!line.startsWith('$')) {
      throw new ProtocolError(`expected '$', got '${line.slice(0, 1)}'`)
    }
    const length = integerOf(line.slice(1))
    if (length === undefined || length < 0 || length > bulkBytesMax) {
      throw new ProtocolError('invalid bulk length')
    }
    this.#commandBytes += length
    if (this.#commandBytes > commandBytesMax) throw new ProtocolError('invalid bulk length')
    this.#bulkBytes = length
    return true
  }

  #inline(): readonly string[] | undefined {
    const line = this.#line('too big inline request')
    return line === undefined ? undefined : splitInline(line)
  }

  /** Without its line end, which may be a bare LF in inline commands. */
  #line(tooBig: string): string | undefined {
    const end = this.#pending.indexOf(0x0a, this.#at)
    if ((end < 0 ? this.#pending.length : end) - this.#at > inlineBytesMax) {
      throw new ProtocolError(tooBig)
    }
    if (end < 0) return undefined
    const hasReturn = end > this.#at && this.#pending[end - 1] === 0x0d
    const line = this.#pending.toString('latin1', this.#at, hasReturn ? end - 1 : end)
    this.#at = end + 1
    return line
  }
}

/** Words of an inline command: bare, "with escapes" or 'as they are'. @throws ProtocolError */
function splitInline(line: string): readonly string[] {
  const words: string[] = []
  const word = /\s*(?:"((?:[^"\\]|\\.)*)"(?=\s|$)|'((?:[^'\\]|\\.)*)'(?=\s|$)|([^\s"']+)|(["']))/gsy
  for (let found = word.exec(line); found !== null; found = word.exec(line)) {
    const [, quoted, literal, bare, unbalanced] = found
    if (unbalanced !== undefined) throw new ProtocolError('unbalanced quotes in request')
    words.push(unescaped(quoted) ?? literal?.replaceAll("\\'", "'") ?? bare ?? '')
  }
  return words
}

function unescaped(quoted: string | undefined): string | undefined {
  return quoted?.replaceAll(/\\(?:x([\da-fA-F]{2})|(.))/gs, (_, hex?: string, one?: string) => {
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16))
    return { n: '\n', r: '\r', t: '\t', b: '\b', a: '\u0007' }[one ?? ''] ?? one ?? ''
  })
}

/** Decimal as Redis reads it: no spaces, no plus, no leading zeros; safe integers only. */
export function integerOf(text: string): number | undefined {
  if (!/^(?:0|-?[1-9]\d{0,15})$/.test(text)) return undefined
  const value = Number(text)
  return Number.isSafeInteger(value) ? value : undefined
}

/** A reply as bytes (latin1). */
export function encodeReply(reply: Reply, version: ProtocolVersion): string {
  if (reply === null) return version === 3 ? '_\r\n' : '$-1\r\n'
  if (typeof reply === 'number') return `:${reply}\r\n`
  if (typeof reply === 'string') return `$${reply.length}\r\n${reply}\r\n`
  if ('status' in reply) return `+${reply.status}\r\n`
  if ('error' in reply) return `-${reply.error.replaceAll(/[\r\n]/g, ' ')}\r\n`
  if ('pairs' in reply) {
    const head = version === 3 ? `%${reply.pairs.length}` : `*${reply.pairs.length * 2}`
    return `${head}\r\n${encodeAll(reply.pairs.flat(), version)}`
  }
  if ('pushed' in reply) {
    const mark = version === 3 ? '>' : '*'
    return `${mark}${reply.pushed.length}\r\n${encodeAll(reply.pushed, version)}`
  }
  return `*${reply.length}\r\n${encodeAll(reply, version)}`
}

function encodeAll(replies: readonly Reply[], version: ProtocolVersion): string {
  return replies.map((reply) => encodeReply(reply, version)).join('')
}
