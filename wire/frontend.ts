// Messages of the client side: appenders (we talk to a server), decoders (a client talks to us) and
// rewriters that change the one name in a frame and copy the rest. Decoders take whole frames, header
// included, check every offset and throw 08P01 on whatever does not fit. Counts are read unsigned, as
// PostgreSQL does: a statement may have 65535 parameters.
import { assert } from '../core/assert.ts'
import { frontend } from './codes.ts'
import { lossyText, readFrame, violation } from './reader.ts'
import type { Writer } from './writer.ts'

/** What Describe and Close can name: a prepared statement or a portal. */
export type Target = 'S' | 'P'

/** Parse. `sql` is in the client's encoding, without its NUL. */
export type ParseMessage = {
  readonly name: string
  readonly sql: Uint8Array
  readonly paramTypes: readonly number[]
}

/**
 * Bind. Formats as sent: none = all text, one = for all, else one each (0 text, 1 binary); the server
 * rejects counts that disagree. A parameter is null or a view of the frame.
 */
export type BindMessage = {
  readonly portal: string
  readonly statement: string
  readonly paramFormats: readonly number[]
  readonly params: readonly (Uint8Array | null)[]
  readonly resultFormats: readonly number[]
}

/** Simple query. */
export function writeQuery(w: Writer, sql: string | Uint8Array): void {
  w.begin(frontend.query)
  writeSql(w, sql)
  w.end()
}

/** Parse of `sql`, which must hold no NUL. */
export function writeParse(
  w: Writer,
  name: string,
  sql: string | Uint8Array,
  paramTypes: readonly number[],
): void {
  w.begin(frontend.parse)
  w.cstring(name)
  writeSql(w, sql)
  w.i16(paramTypes.length)
  for (const oid of paramTypes) w.u32(oid)
  w.end()
}

/** Bind of parameters to a statement. */
export function writeBind(w: Writer, message: BindMessage): void {
  w.begin(frontend.bind)
  w.cstring(message.portal)
  w.cstring(message.statement)
  writeI16s(w, message.paramFormats)
  w.i16(message.params.length)
  for (const value of message.params) {
    w.i32(value === null ? -1 : value.length)
    if (value !== null) w.raw(value)
  }
  writeI16s(w, message.resultFormats)
  w.end()
}

/** Describe of a statement (S) or portal (P). */
export function writeDescribe(w: Writer, what: Target, name: string): void {
  writeTarget(w, frontend.describe, what, name)
}

/** Close of a statement (S) or portal (P). */
export function writeClose(w: Writer, what: Target, name: string): void {
  writeTarget(w, frontend.close, what, name)
}

/** Execute; `maxRows` 0 = all. */
export function writeExecute(w: Writer, portal: string, maxRows: number): void {
  w.begin(frontend.execute)
  w.cstring(portal)
  w.i32(maxRows)
  w.end()
}

/** Sync. */
export function writeSync(w: Writer): void {
  writeBare(w, frontend.sync)
}

/** Flush. */
export function writeFlush(w: Writer): void {
  writeBare(w, frontend.flush)
}

/** Terminate. */
export function writeTerminate(w: Writer): void {
  writeBare(w, frontend.terminate)
}

/** PasswordMessage: cleartext or an md5 answer. */
export function writePassword(w: Writer, text: string): void {
  w.begin(frontend.password)
  w.cstring(text)
  w.end()
}

/** SASLInitialResponse; `data` null when the mechanism has no first message. */
export function writeSaslInitial(
  w: Writer,
  mechanism: string,
  data: string | Uint8Array | null,
): void {
  w.begin(frontend.password)
  w.cstring(mechanism)
  const bytes = typeof data === 'string' ? Buffer.from(data) : data
  w.i32(bytes === null ? -1 : bytes.length)
  if (bytes !== null) w.raw(bytes)
  w.end()
}

/** SASLResponse. */
export function writeSaslResponse(w: Writer, data: string | Uint8Array): void {
  w.begin(frontend.password)
  if (typeof data === 'string') w.utf8(data)
  else w.raw(data)
  w.end()
}

/** CopyData; the same bytes in both directions. */
export function writeCopyData(w: Writer, bytes: Uint8Array): void {
  w.begin(frontend.copyData)
  w.raw(bytes)
  w.end()
}

/** CopyDone; the same bytes in both directions. */
export function writeCopyDone(w: Writer): void {
  writeBare(w, frontend.copyDone)
}

/** CopyFail: the COPY ends with an error that quotes `message`. */
export function writeCopyFail(w: Writer, message: string): void {
  w.begin(frontend.copyFail)
  w.cstring(message)
  w.end()
}

/** SQL of a Query frame, as a view without its NUL. */
export function decodeQuery(frame: Uint8Array): Uint8Array {
  const r = readFrame(frame)
  const sql = r.cbytes()
  r.end()
  return sql
}

/** Fields of a Parse frame; `sql` is a view. */
export function decodeParse(frame: Uint8Array): ParseMessage {
  const r = readFrame(frame)
  const name = r.cstring()
  const sql = r.cbytes()
  const paramTypes: number[] = []
  for (let count = r.u16(); count > 0; count--) paramTypes.push(r.u32())
  r.end()
  return { name, sql, paramTypes }
}

/** Fields of a Bind frame; the parameters are views. */
export function decodeBind(frame: Uint8Array): BindMessage {
  const r = readFrame(frame)
  const portal = r.cstring()
  const statement = r.cstring()
  const paramFormats: number[] = []
  for (let count = r.u16(); count > 0; count--) paramFormats.push(r.i16())
  const params: (Uint8Array | null)[] = []
  for (let count = r.u16(); count > 0; count--) params.push(r.value())
  const resultFormats: number[] = []
  for (let count = r.u16(); count > 0; count--) resultFormats.push(r.i16())
  r.end()
  return { portal, statement, paramFormats, params, resultFormats }
}

/** The two names of a Bind frame; the rest is not looked at. */
export function decodeBindNames(frame: Uint8Array): { portal: string; statement: string } {
  const r = readFrame(frame)
  const portal = r.cstring()
  return { portal, statement: r.cstring() }
}

/** What a Describe frame asks for. */
export function decodeDescribe(frame: Uint8Array): { what: Target; name: string } {
  return decodeTarget(frame)
}

/** What a Close frame names. */
export function decodeClose(frame: Uint8Array): { what: Target; name: string } {
  return decodeTarget(frame)
}

/** Fields of an Execute frame; `maxRows` ≤ 0 = all, as PostgreSQL reads it. */
export function decodeExecute(frame: Uint8Array): { portal: string; maxRows: number } {
  const r = readFrame(frame)
  const portal = r.cstring()
  const maxRows = r.i32()
  r.end()
  return { portal, maxRows }
}

/** The function that a FunctionCall frame names, unsigned. */
export function decodeFunctionCall(frame: Uint8Array): { oid: number } {
  return { oid: readFrame(frame).i32() >>> 0 }
}

/** Text of a PasswordMessage. Bytes that are not UTF-8 give a text that matches no password. */
export function decodePassword(frame: Uint8Array): string {
  const r = readFrame(frame)
  const password = r.cbytes()
  r.end()
  return lossyText(password)
}

/** Mechanism and first message of a SASLInitialResponse; `data` is a view. */
export function decodeSaslInitial(frame: Uint8Array): {
  mechanism: string
  data: Uint8Array | null
} {
  const r = readFrame(frame)
  const mechanism = r.cstring()
  const data = r.value()
  r.end()
  return { mechanism, data }
}

/** Bytes of a SASLResponse, as a view. */
export function decodeSaslResponse(frame: Uint8Array): Uint8Array {
  const r = readFrame(frame)
  return r.take(r.remaining)
}

/** The client's reason for ending its COPY. */
export function decodeCopyFail(frame: Uint8Array): string {
  const r = readFrame(frame)
  const message = r.cbytes()
  r.end()
  return lossyText(message)
}

/** Appends a Parse frame with another statement name. */
export function writeRenamedParse(w: Writer, frame: Uint8Array, name: string): void {
  const r = readFrame(frame)
  writeRenamed(w, frame, name, r.skipCString(), r.position)
}

/** Appends a Bind frame with another statement name; the portal's stays. */
export function writeRenamedBind(w: Writer, frame: Uint8Array, statement: string): void {
  const r = readFrame(frame)
  r.skipCString()
  writeRenamed(w, frame, statement, r.skipCString(), r.position)
}

/** Appends a Describe (or Close) frame with another name; what it names, S or P, stays. */
export function writeRenamedDescribe(w: Writer, frame: Uint8Array, name: string): void {
  const r = readFrame(frame)
  r.u8()
  writeRenamed(w, frame, name, r.skipCString(), r.position)
}

/** The old name stands from `from` to `to`, its NUL included. */
function writeRenamed(w: Writer, frame: Uint8Array, name: string, from: number, to: number): void {
  w.begin(frame[0] ?? 0)
  w.rawRange(frame, 5, from)
  w.cstring(name)
  w.rawRange(frame, to, frame.length)
  w.end()
}

function writeSql(w: Writer, sql: string | Uint8Array): void {
  // A NUL would end the statement early: the server would run another one than was meant.
  assert(typeof sql === 'string' ? !sql.includes('\0') : !sql.includes(0), 'SQL holds no NUL')
  if (typeof sql === 'string') w.utf8(sql)
  else w.raw(sql)
  w.u8(0)
}

function writeI16s(w: Writer, values: readonly number[]): void {
  w.i16(values.length)
  for (const value of values) w.i16(value)
}

function writeTarget(w: Writer, code: number, what: Target, name: string): void {
  w.begin(code)
  w.u8(what.charCodeAt(0))
  w.cstring(name)
  w.end()
}

function writeBare(w: Writer, code: number): void {
  w.begin(code)
  w.end()
}

function decodeTarget(frame: Uint8Array): { what: Target; name: string } {
  const r = readFrame(frame)
  const what = r.u8()
  const name = r.cstring()
  r.end()
  if (what !== 0x53 && what !== 0x50) throw violation(`invalid DESCRIBE or CLOSE subtype ${what}`)
  return { what: what === 0x53 ? 'S' : 'P', name }
}
