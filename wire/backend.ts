// Messages of the server side: appenders (we answer a client). Decoders of the same messages stand in
// the second half (a server talks to us): whole frames, header included; 08P01 on whatever does not fit.
import { assert } from '../core/assert.ts'
import type { PgError } from '../core/errors.ts'
import { backend } from './codes.ts'
import { lossyText, readFrame, violation } from './reader.ts'
import { Writer } from './writer.ts'

/** Transaction state in ReadyForQuery: idle, in a transaction, in a failed one. */
export type TransactionStatus = 'I' | 'T' | 'E'

/** One column of a RowDescription. */
export type FieldDescription = {
  readonly name: string
  /** 0 unless the column is a plain column of a table. */
  readonly tableOid: number
  readonly column: number
  readonly typeOid: number
  /** Negative for types of variable width. */
  readonly typeSize: number
  readonly typeModifier: number
  /** 0 text, 1 binary. */
  readonly format: number
}

/** What a NoticeResponse of ours says. */
export type Notice = {
  readonly severity: 'WARNING' | 'NOTICE' | 'INFO' | 'LOG' | 'DEBUG'
  readonly sqlstate: string
  readonly message: string
  readonly detail?: string | undefined
  readonly hint?: string | undefined
}

/** What a server asks for during login. `data`, `salt` are views. */
export type Authentication =
  | { readonly kind: 'ok' }
  | { readonly kind: 'cleartext' }
  | { readonly kind: 'md5'; readonly salt: Uint8Array }
  | { readonly kind: 'sasl'; readonly mechanisms: readonly string[] }
  | { readonly kind: 'saslContinue'; readonly data: Uint8Array }
  | { readonly kind: 'saslFinal'; readonly data: Uint8Array }
  /** Kerberos, GSSAPI, SSPI and whatever comes later: `type` is the int32 sent. */
  | { readonly kind: 'unsupported'; readonly type: number }

const protocolMajor3 = 0x3_0000
/** PostgreSQL 18's own limits of a cancel key; 4 bytes up to protocol 3.0, more from 3.2. */
const secretBytesMax = 256

/** ErrorResponse with the fields that the error has. */
export function writeErrorResponse(w: Writer, error: PgError): void {
  w.begin(backend.errorResponse)
  writeField(w, 'S', error.severity)
  writeField(w, 'V', error.severity)
  writeField(w, 'C', error.sqlstate)
  writeField(w, 'M', error.message)
  writeField(w, 'D', error.detail)
  writeField(w, 'H', error.hint)
  writeField(w, 'P', error.position === undefined ? undefined : String(error.position))
  writeField(w, 'R', error.routine)
  w.u8(0)
  w.end()
}

/** NoticeResponse. */
export function writeNotice(w: Writer, notice: Notice): void {
  w.begin(backend.noticeResponse)
  writeField(w, 'S', notice.severity)
  writeField(w, 'V', notice.severity)
  writeField(w, 'C', notice.sqlstate)
  writeField(w, 'M', notice.message)
  writeField(w, 'D', notice.detail)
  writeField(w, 'H', notice.hint)
  w.u8(0)
  w.end()
}

/** ReadyForQuery. */
export function writeReadyForQuery(w: Writer, status: TransactionStatus): void {
  w.begin(backend.readyForQuery)
  w.u8(status.charCodeAt(0))
  w.end()
}

/** CommandComplete with a tag such as `INSERT 0 1`. */
export function writeCommandComplete(w: Writer, tag: string): void {
  w.begin(backend.commandComplete)
  w.cstring(tag)
  w.end()
}

/** ParameterStatus. */
export function writeParameterStatus(w: Writer, name: string, value: string): void {
  w.begin(backend.parameterStatus)
  w.cstring(name)
  w.cstring(value)
  w.end()
}

/** BackendKeyData; `secret` has 4 bytes for protocol 3.0, up to 256 from 3.2. */
export function writeBackendKeyData(w: Writer, pid: number, secret: Uint8Array): void {
  assert(secret.length >= 4 && secret.length <= secretBytesMax, 'a cancel key has 4 to 256 bytes')
  w.begin(backend.backendKeyData)
  w.i32(pid)
  w.raw(secret)
  w.end()
}

/** AuthenticationOk. */
export function writeAuthenticationOk(w: Writer): void {
  writeAuthentication(w, 0, nothing)
}

/** AuthenticationCleartextPassword. */
export function writeAuthenticationCleartextPassword(w: Writer): void {
  writeAuthentication(w, 3, nothing)
}

/** AuthenticationMD5Password with its 4 bytes of salt. */
export function writeAuthenticationMd5Password(w: Writer, salt: Uint8Array): void {
  assert(salt.length === 4, 'an md5 salt has 4 bytes')
  writeAuthentication(w, 5, salt)
}

/** AuthenticationSASL with the mechanisms on offer, best first. */
export function writeAuthenticationSasl(w: Writer, mechanisms: readonly string[]): void {
  w.begin(backend.authentication)
  w.i32(10)
  for (const mechanism of mechanisms) w.cstring(mechanism)
  w.u8(0)
  w.end()
}

/** AuthenticationSASLContinue. */
export function writeAuthenticationSaslContinue(w: Writer, data: string | Uint8Array): void {
  writeAuthentication(w, 11, data)
}

/** AuthenticationSASLFinal. */
export function writeAuthenticationSaslFinal(w: Writer, data: string | Uint8Array): void {
  writeAuthentication(w, 12, data)
}

/**
 * NegotiateProtocolVersion. `newestMinor` 2 stands for 3.2: on the wire goes the whole version number,
 * as PostgreSQL sends it and libpq expects it, whatever the manual says of "minor".
 */
export function writeNegotiateProtocolVersion(
  w: Writer,
  newestMinor: number,
  unknownOptions: readonly string[],
): void {
  w.begin(backend.negotiateProtocolVersion)
  w.i32(protocolMajor3 | newestMinor)
  w.i32(unknownOptions.length)
  for (const option of unknownOptions) w.cstring(option)
  w.end()
}

/** ParseComplete. */
export function writeParseComplete(w: Writer): void {
  writeBare(w, backend.parseComplete)
}

/** BindComplete. */
export function writeBindComplete(w: Writer): void {
  writeBare(w, backend.bindComplete)
}

/** CloseComplete. */
export function writeCloseComplete(w: Writer): void {
  writeBare(w, backend.closeComplete)
}

/** NoData. */
export function writeNoData(w: Writer): void {
  writeBare(w, backend.noData)
}

/** EmptyQueryResponse. */
export function writeEmptyQueryResponse(w: Writer): void {
  writeBare(w, backend.emptyQueryResponse)
}

/** PortalSuspended. */
export function writePortalSuspended(w: Writer): void {
  writeBare(w, backend.portalSuspended)
}

/** ParameterDescription: types of a prepared statement's parameters. */
export function writeParameterDescription(w: Writer, typeOids: readonly number[]): void {
  w.begin(backend.parameterDescription)
  w.i16(typeOids.length)
  for (const typeOid of typeOids) w.u32(typeOid)
  w.end()
}

/** RowDescription. */
export function writeRowDescription(w: Writer, fields: readonly FieldDescription[]): void {
  w.begin(backend.rowDescription)
  w.i16(fields.length)
  for (const field of fields) {
    w.cstring(field.name)
    w.u32(field.tableOid)
    w.i16(field.column)
    w.u32(field.typeOid)
    w.i16(field.typeSize)
    w.i32(field.typeModifier)
    w.i16(field.format)
  }
  w.end()
}

/** DataRow; strings go as UTF-8 text. */
export function writeDataRow(w: Writer, values: readonly (Uint8Array | string | null)[]): void {
  w.begin(backend.dataRow)
  w.i16(values.length)
  for (const value of values) {
    const bytes = typeof value === 'string' ? Buffer.from(value) : value
    w.i32(bytes === null ? -1 : bytes.length)
    if (bytes !== null) w.raw(bytes)
  }
  w.end()
}

/** CopyInResponse; formats 0 text, 1 binary. */
export function writeCopyInResponse(
  w: Writer,
  format: 0 | 1,
  columnFormats: readonly number[],
): void {
  w.begin(backend.copyInResponse)
  w.u8(format)
  w.i16(columnFormats.length)
  for (const columnFormat of columnFormats) w.i16(columnFormat)
  w.end()
}

/**
 * Fields of an ErrorResponse or NoticeResponse by their letter. For reading and deciding only: text
 * that is not UTF-8 shows U+FFFD; to pass the message on, pass its bytes on.
 */
export function decodeErrorFields(frame: Uint8Array): ReadonlyMap<string, string> {
  const fields = new Map<string, string>()
  for (const { code, value } of errorFields(frame)) {
    fields.set(String.fromCharCode(code), lossyText(value))
  }
  return fields
}

/** The same message with another severity (S and V); every other byte stays. An owned frame. */
export function rewriteErrorSeverity(frame: Uint8Array, severity: 'ERROR'): Uint8Array {
  const w = new Writer(frame.length + 16)
  w.begin(frame[0] ?? 0)
  for (const { code, value } of errorFields(frame)) {
    w.u8(code)
    if (code === 0x53 || code === 0x56) w.utf8(severity)
    else w.raw(value)
    w.u8(0)
  }
  w.u8(0)
  w.end()
  return w.take()
}

/** Transaction state of a ReadyForQuery frame. */
export function decodeReadyForQuery(frame: Uint8Array): TransactionStatus {
  const r = readFrame(frame)
  const status = String.fromCharCode(r.u8())
  r.end()
  if (status === 'I' || status === 'T' || status === 'E') return status
  throw violation('invalid transaction status')
}

/** Name and value of a ParameterStatus frame; a value that is not UTF-8 shows U+FFFD. */
export function decodeParameterStatus(frame: Uint8Array): { name: string; value: string } {
  const r = readFrame(frame)
  const name = r.cstring()
  const value = r.cbytes()
  r.end()
  return { name, value: lossyText(value) }
}

/** Tag of a CommandComplete frame. */
export function decodeCommandComplete(frame: Uint8Array): string {
  const r = readFrame(frame)
  const tag = r.cstring()
  r.end()
  return tag
}

/** Columns of a RowDescription frame; a name that is not UTF-8 shows U+FFFD. */
export function decodeRowDescription(frame: Uint8Array): FieldDescription[] {
  const r = readFrame(frame)
  const fields: FieldDescription[] = []
  for (let count = r.u16(); count > 0; count--) {
    fields.push({
      name: lossyText(r.cbytes()),
      tableOid: r.u32(),
      column: r.i16(),
      typeOid: r.u32(),
      typeSize: r.i16(),
      typeModifier: r.i32(),
      format: r.i16(),
    })
  }
  r.end()
  return fields
}

/** Values of a DataRow frame, as views. */
export function decodeDataRow(frame: Uint8Array): (Uint8Array | null)[] {
  const r = readFrame(frame)
  const values: (Uint8Array | null)[] = []
  for (let count = r.u16(); count > 0; count--) values.push(r.value())
  r.end()
  return values
}

/** Process id and cancel key of a BackendKeyData frame; the key is a view of 4 to 256 bytes. */
export function decodeBackendKeyData(frame: Uint8Array): { pid: number; secret: Uint8Array } {
  const r = readFrame(frame)
  const pid = r.i32()
  if (r.remaining < 4 || r.remaining > secretBytesMax) throw violation('invalid cancel key length')
  return { pid, secret: r.take(r.remaining) }
}

/** What an Authentication frame asks for. */
export function decodeAuthentication(frame: Uint8Array): Authentication {
  const r = readFrame(frame)
  const type = r.i32()
  switch (type) {
    case 0:
    case 3:
      r.end()
      return { kind: type === 0 ? 'ok' : 'cleartext' }
    case 5: {
      const salt = r.take(4)
      r.end()
      return { kind: 'md5', salt }
    }
    case 10: {
      const mechanisms: string[] = []
      for (let name = r.cstring(); name !== ''; name = r.cstring()) mechanisms.push(name)
      r.end()
      return { kind: 'sasl', mechanisms }
    }
    case 11:
    case 12:
      return { kind: type === 11 ? 'saslContinue' : 'saslFinal', data: r.take(r.remaining) }
    default:
      return { kind: 'unsupported', type }
  }
}

/** What a server settled for. `newestMinor` is 2 for 3.2, also when only the minor was sent. */
export function decodeNegotiateProtocolVersion(frame: Uint8Array): {
  newestMinor: number
  unknownOptions: string[]
} {
  const r = readFrame(frame)
  const version = r.u32()
  const unknownOptions: string[] = []
  const count = r.i32()
  if (count < 0 || count > r.remaining) throw violation('invalid count of unknown options')
  for (let left = count; left > 0; left--) unknownOptions.push(r.cstring())
  r.end()
  const major = version >>> 16
  if (major !== 0 && major !== 3) throw violation(`protocol ${major} cannot be negotiated`)
  return { newestMinor: version & 0xffff, unknownOptions }
}

const nothing = new Uint8Array(0)

function writeField(w: Writer, code: string, value: string | undefined): void {
  if (value === undefined) return
  w.u8(code.charCodeAt(0))
  w.cstring(value)
}

function writeAuthentication(w: Writer, type: number, data: string | Uint8Array): void {
  w.begin(backend.authentication)
  w.i32(type)
  if (typeof data === 'string') w.utf8(data)
  else w.raw(data)
  w.end()
}

function writeBare(w: Writer, code: number): void {
  w.begin(code)
  w.end()
}

function* errorFields(frame: Uint8Array): Generator<{ code: number; value: Uint8Array }> {
  const r = readFrame(frame)
  for (let code = r.u8(); code !== 0; code = r.u8()) yield { code, value: r.cbytes() }
  r.end()
}
