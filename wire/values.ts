// Shard key values out of parameters and COPY fields, read exactly as PostgreSQL's input functions read
// them. `undefined` means that the server would refuse the value too: let the server say how.
import { lossyText } from './reader.ts'

const int8Max = 2n ** 63n - 1n
const int8Min = -(2n ** 63n)
/** More significant digits than any int8 has in any base that PostgreSQL reads. */
const digitsMax = 64

/** Text of a value, for messages and for comparing; U+FFFD for what is not UTF-8. */
export function textOf(bytes: Uint8Array): string {
  return lossyText(bytes)
}

/**
 * bigint input (pg_strtoint64): white space around, a sign, decimal or 0x/0o/0b, `_` between digits as
 * PostgreSQL 16 reads it. Undefined when it is no integer or does not fit 64 bits.
 */
export function int8FromText(bytes: Uint8Array): bigint | undefined {
  let at = 0
  let end = bytes.length
  while (at < end && isSpace(bytes[at])) at++
  while (end > at && isSpace(bytes[end - 1])) end--
  const sign = bytes[at]
  if (sign === 0x2d || sign === 0x2b) at++
  const value = magnitude(bytes, at, end)
  if (value === undefined) return undefined
  const signed = sign === 0x2d ? -value : value
  return signed >= int8Min && signed <= int8Max ? signed : undefined
}

/** smallint, integer or bigint in binary (2, 4 or 8 bytes, big-endian); undefined for other lengths. */
export function intFromBinary(bytes: Uint8Array): bigint | undefined {
  const { length } = bytes
  if (length !== 2 && length !== 4 && length !== 8) return undefined
  let value = 0n
  for (const byte of bytes) value = (value << 8n) | BigInt(byte)
  return BigInt.asIntN(length * 8, value)
}

/**
 * uuid input: 32 hex digits, a hyphen allowed after each group of four, braces allowed around all.
 * 16 owned bytes.
 */
export function uuidFromText(bytes: Uint8Array): Uint8Array | undefined {
  const braces = bytes[0] === 0x7b
  const end = braces ? bytes.length - 1 : bytes.length
  if (braces && bytes[end] !== 0x7d) return undefined
  const uuid = new Uint8Array(16)
  let at = braces ? 1 : 0
  for (let i = 0; i < 16; i++) {
    if (at + 2 > end) return undefined
    const high = hexDigit(bytes[at])
    const low = hexDigit(bytes[at + 1])
    if (high < 0 || low < 0) return undefined
    uuid[i] = high * 16 + low
    at += 2
    if (bytes[at] === 0x2d && i % 2 === 1 && i < 15) at++
  }
  return at === end ? uuid : undefined
}

/** uuid in binary, as a view; undefined unless it has 16 bytes. */
export function uuidFromBinary(bytes: Uint8Array): Uint8Array | undefined {
  return bytes.length === 16 ? bytes : undefined
}

/** Digits from `at` to `end`, all of them. */
function magnitude(bytes: Uint8Array, at: number, end: number): bigint | undefined {
  const base = bytes[at] === 0x30 ? baseOf(bytes[at + 1]) : 10
  const first = base === 10 ? at : at + 2
  let digits = ''
  let afterDigit = base !== 10 // an underscore may follow the prefix, but not start a decimal
  for (let i = first; i < end; i++) {
    const byte = bytes[i] ?? 0
    if (byte === 0x5f) {
      if (!afterDigit) return undefined
      afterDigit = false
      continue
    }
    const digit = hexDigit(byte)
    if (digit < 0 || digit >= base) return undefined
    afterDigit = true
    if (digits !== '' || digit !== 0) digits += String.fromCharCode(byte)
    if (digits.length > digitsMax) return undefined
  }
  if (first >= end || !afterDigit) return undefined
  return BigInt(`${prefixes[base]}${digits === '' ? '0' : digits}`)
}

type Base = 2 | 8 | 10 | 16
const prefixes: Record<Base, string> = { 2: '0b', 8: '0o', 10: '', 16: '0x' }

/** Base that the letter after a leading zero stands for. */
function baseOf(letter: number | undefined): Base {
  if (letter === 0x78 || letter === 0x58) return 16
  if (letter === 0x6f || letter === 0x4f) return 8
  if (letter === 0x62 || letter === 0x42) return 2
  return 10
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || (byte !== undefined && byte >= 0x09 && byte <= 0x0d)
}

function hexDigit(byte: number | undefined): number {
  if (byte === undefined) return -1
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const lower = byte | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}
