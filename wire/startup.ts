// What a client sends before it is anybody: startup packet, SSL and GSS requests, cancel requests.
// Limits are PostgreSQL's own (backend_startup.c, ProcessStartupPacket).
import { assert } from '../core/assert.ts'
import { pgError } from '../core/errors.ts'
import { Reader, readI32, violation } from './reader.ts'
import type { Writer } from './writer.ts'

/** Largest startup packet, its length field not counted: PostgreSQL's MAX_STARTUP_PACKET_LENGTH. */
const startupBytesMax = 10_000

/** First packet of a connection. `secret` is a view. */
export type StartupPacket =
  | { readonly kind: 'ssl' }
  | { readonly kind: 'gssenc' }
  | { readonly kind: 'cancel'; readonly pid: number; readonly secret: Uint8Array }
  /** `parameters` is empty when `major` is not 3: what follows then is not known. */
  | {
      readonly kind: 'startup'
      readonly major: number
      readonly minor: number
      readonly parameters: Map<string, string>
    }

const cancelCode = 80_877_102
const sslCode = 80_877_103
const gssencCode = 80_877_104
const cancelSecretBytesMax = 256

/**
 * Length of the whole packet, its length field included, from the packet's first 4 bytes.
 * @throws PgError 08P01 below 8 or above startupBytesMax + 4.
 */
export function startupPacketLength(header4: Uint8Array): number {
  assert(header4.length >= 4, 'four bytes are there')
  if (!beginsStartup(header4)) throw violation('invalid length of startup packet')
  return readI32(header4, 0)
}

/** False where the first 4 bytes are no length of a startup packet; whoever sends them speaks another protocol. */
export function beginsStartup(header4: Uint8Array): boolean {
  const length = readI32(header4, 0)
  return length >= 8 && length - 4 <= startupBytesMax
}

/** Reads a whole packet, its int32 length included. @throws PgError 08P01 on whatever does not fit. */
export function decodeStartupPacket(bytes: Uint8Array): StartupPacket {
  if (bytes.length < 8 || startupPacketLength(bytes) !== bytes.length) {
    throw violation('invalid length of startup packet')
  }
  const r = new Reader(bytes, 4)
  const code = r.i32()
  if (code === sslCode || code === gssencCode) {
    r.end()
    return { kind: code === sslCode ? 'ssl' : 'gssenc' }
  }
  if (code === cancelCode) {
    const pid = r.i32()
    if (r.remaining === 0 || r.remaining > cancelSecretBytesMax) {
      throw violation('invalid length of cancel key in cancel request packet')
    }
    return { kind: 'cancel', pid, secret: r.take(r.remaining) }
  }
  const major = code >>> 16
  const parameters = new Map<string, string>()
  if (major !== 3) return { kind: 'startup', major, minor: code & 0xffff, parameters }
  for (let name = r.cstring(); name !== ''; name = r.cstring())
    setLast(parameters, name, r.cstring())
  r.end()
  return { kind: 'startup', major, minor: code & 0xffff, parameters }
}

/** Startup packet of protocol 3.`minor`. */
export function writeStartup(
  w: Writer,
  startup: { readonly minor: number; readonly parameters: ReadonlyMap<string, string> },
): void {
  w.begin(0)
  w.i32(0x3_0000 | startup.minor)
  for (const [name, value] of startup.parameters) {
    assert(name !== '', 'a startup parameter has a name')
    w.cstring(name)
    w.cstring(value)
  }
  w.u8(0)
  w.end()
}

/** CancelRequest packet for the server process `pid`. */
export function writeCancelRequest(w: Writer, pid: number, secret: Uint8Array): void {
  w.begin(0)
  w.i32(cancelCode)
  w.i32(pid)
  w.raw(secret)
  w.end()
}

/** SSLRequest packet. */
export function writeSslRequest(w: Writer): void {
  w.begin(0)
  w.i32(sslCode)
  w.end()
}

/**
 * Settings in the startup parameter `options`: `-c name=value`, `-cname=value`, `--name=value`, split at
 * white space that no backslash escapes. Names come lower case with `_` for `-`; the last of a name wins.
 * @throws PgError 42601 on any other switch, as PostgreSQL does for those it does not know.
 */
export function parseOptions(text: string): Map<string, string> {
  const settings = new Map<string, string>()
  const words = splitOptions(text)
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? ''
    let assignment: string | undefined
    if (word.startsWith('--')) assignment = word.slice(2)
    else if (word === '-c') assignment = words[++i]
    else if (word.startsWith('-c')) assignment = word.slice(2)
    const equals = assignment?.indexOf('=') ?? -1
    if (assignment === undefined || equals < 1) throw pgError('startupOptionInvalid', [word])
    const name = assignment.slice(0, equals).replaceAll('-', '_').toLowerCase()
    setLast(settings, name, assignment.slice(equals + 1))
  }
  return settings
}

/** Said again means said last, as PostgreSQL takes them one after the other. */
function setLast(values: Map<string, string>, name: string, value: string): void {
  values.delete(name)
  values.set(name, value)
}

/** pg_split_opts() of PostgreSQL: a backslash takes the next character as it is. */
function splitOptions(text: string): string[] {
  const words: string[] = []
  let word: string | undefined
  for (let i = 0; i < text.length; i++) {
    const char = text[i] ?? ''
    if (/[ \t\n\v\f\r]/.test(char)) {
      if (word !== undefined) words.push(word)
      word = undefined
      continue
    }
    word ??= ''
    if (char === '\\') word += text[++i] ?? ''
    else word += char
  }
  if (word !== undefined) words.push(word)
  return words
}
