// What a conversation is compared by. Every byte of a server's message counts except the
// documented fields, which are made equal here: F, L, R of errors and notices (file, line,
// routine), the contents of BackendKeyData, process ids, and the OIDs of objects that were created
// by the script itself.
import { createHash } from 'node:crypto'
import type { Arrival } from './raw-connection.ts'

/** One line of a conversation; server lines are equal when text and digest are. */
export type Entry = {
  readonly from: 'client' | 'server' | 'note'
  readonly text: string
  readonly digest: string
}

/** What a script says may differ beyond the documented fields. */
export type Tolerance = {
  readonly user: string
  /** Letters of error fields. */
  readonly differs: string
  /** A table has another OID on every shard: all OIDs of the script's own objects count as one. */
  readonly manyShards: boolean
}

const firstUserOid = 16_384

const names: Readonly<Record<string, string>> = {
  R: 'Authentication',
  K: 'BackendKeyData',
  S: 'ParameterStatus',
  Z: 'ReadyForQuery',
  T: 'RowDescription',
  D: 'DataRow',
  C: 'CommandComplete',
  I: 'EmptyQueryResponse',
  E: 'ErrorResponse',
  N: 'NoticeResponse',
  '1': 'ParseComplete',
  '2': 'BindComplete',
  '3': 'CloseComplete',
  n: 'NoData',
  s: 'PortalSuspended',
  t: 'ParameterDescription',
  A: 'NotificationResponse',
  G: 'CopyInResponse',
  H: 'CopyOutResponse',
  W: 'CopyBothResponse',
  d: 'CopyData',
  c: 'CopyDone',
  V: 'FunctionCallResponse',
  v: 'NegotiateProtocolVersion',
}

/** Turns arrivals into entries; remembers which OID came first, second, … */
export function createReader(tolerance: Tolerance): (arrival: Arrival) => Entry {
  const oids = new Map<number, number>()
  const sameOid = (bytes: Buffer, at: number): void => {
    const oid = bytes.readUInt32BE(at)
    if (oid < firstUserOid) return
    if (!oids.has(oid)) oids.set(oid, firstUserOid + (tolerance.manyShards ? 0 : oids.size))
    bytes.writeUInt32BE(oids.get(oid) ?? 0, at)
  }
  const normalizers: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
    E: (bytes) => withoutFields(bytes, `FLR${tolerance.differs}`),
    N: (bytes) => withoutFields(bytes, `FLR${tolerance.differs}`),
    K: (bytes) => Buffer.from(bytes).fill(0, 5),
    A: (bytes) => Buffer.from(bytes).fill(0, 5, 9),
    S: (bytes) => sameUser(bytes, tolerance.user),
    T: (bytes) => overRowDescription(Buffer.from(bytes), sameOid),
    t: (bytes) => overParameterDescription(Buffer.from(bytes), sameOid),
  }
  return (arrival) => {
    if (arrival === 'closed') return note('the server closed the connection')
    if (arrival === 'timeout') return note(timeoutText)
    const bytes = normalizers[arrival.code]?.(arrival.bytes) ?? arrival.bytes
    return { from: 'server', text: render(arrival.code, bytes), digest: digest(bytes) }
  }
}

const timeoutText = 'nothing came before the deadline'
const digest = (bytes: Buffer): string => createHash('sha1').update(bytes).digest('hex')

/** An entry that neither side sent. */
export function note(text: string): Entry {
  return { from: 'note', text, digest: '' }
}

/** True when some wait of the conversation was not answered in time. */
export function timedOut(entries: readonly Entry[]): boolean {
  return entries.some((entry) => entry.from === 'note' && entry.text === timeoutText)
}

/** ParameterStatus messages in a row carry no order: sorted. DataRows likewise when `unordered`. */
export function sortRuns(entries: readonly Entry[], unordered: boolean): Entry[] {
  const sortable = unordered ? ['ParameterStatus', 'DataRow'] : ['ParameterStatus']
  const typeOf = (entry: Entry): string | undefined =>
    sortable.find((type) => entry.from === 'server' && entry.text.startsWith(type))
  const runs: { type: string | undefined; entries: Entry[] }[] = []
  for (const entry of entries) {
    const type = typeOf(entry)
    const run = runs.at(-1)
    if (type !== undefined && run?.type === type) run.entries.push(entry)
    else runs.push({ type, entries: [entry] })
  }
  return runs.flatMap((run) => run.entries.sort((a, b) => compareText(lineKey(a), lineKey(b))))
}

const lineKey = (entry: Entry): string => `${entry.text} ${entry.digest}`
const compareText = (a: string, b: string): number => (a < b ? -1 : Number(a > b))

function withoutFields(bytes: Buffer, letters: string): Buffer {
  const kept = fieldsOf(bytes).filter(([letter]) => !letters.includes(letter))
  const body = kept.map(([letter, text]) => `${letter}${text}\0`).join('')
  return Buffer.from(`${bytes.toString('latin1', 0, 1)}....${body}\0`, 'latin1')
}

/** Fields of an error or notice; Latin-1 keeps every byte apart. */
function fieldsOf(bytes: Buffer): [string, string][] {
  const parts = bytes.toString('latin1', 5, bytes.length - 1).split('\0')
  return parts.filter((part) => part !== '').map((part) => [part.charAt(0), part.slice(1)])
}

function sameUser(bytes: Buffer, user: string): Buffer {
  const [name, value] = bytes.toString('latin1', 5).split('\0')
  if (name !== 'session_authorization' || value !== user) return bytes
  return Buffer.from(`S....${name}\0<the client's user>\0`, 'latin1')
}

type OverOid = (bytes: Buffer, at: number) => void

function overRowDescription(bytes: Buffer, sameOid: OverOid): Buffer {
  let at = 7
  for (let field = bytes.readUInt16BE(5); field > 0; field -= 1) {
    at = bytes.indexOf(0, at) + 1
    sameOid(bytes, at)
    sameOid(bytes, at + 6)
    at += 18
  }
  return bytes
}

function overParameterDescription(bytes: Buffer, sameOid: OverOid): Buffer {
  for (let at = 7; at < bytes.length; at += 4) sameOid(bytes, at)
  return bytes
}

const renderers: Readonly<Record<string, (bytes: Buffer) => string>> = {
  E: renderFields,
  N: renderFields,
  K: (bytes) => `(${bytes.length - 9} bytes of secret)`,
  T: renderColumns,
  D: renderValues,
  Z: (bytes) => bytes.toString('latin1', 5),
  C: (bytes) => bytes.toString('latin1', 5, bytes.length - 1),
}

function render(code: string, bytes: Buffer): string {
  const name = names[code] ?? `message ${JSON.stringify(code)}`
  const body = renderers[code]?.(bytes) ?? quoted(bytes.subarray(5))
  return `${name} ${body}`.trimEnd()
}

function renderFields(bytes: Buffer): string {
  const shown = ([letter, text]: [string, string]): string =>
    `${letter}=${Buffer.from(text, 'latin1').toString()}`
  return fieldsOf(bytes).map(shown).join(' ')
}

function renderColumns(bytes: Buffer): string {
  const columns: string[] = []
  let at = 7
  for (let field = bytes.readUInt16BE(5); field > 0; field -= 1) {
    const end = bytes.indexOf(0, at)
    const numbers = [
      `table ${bytes.readUInt32BE(end + 1)}.${bytes.readInt16BE(end + 5)}`,
      `type ${bytes.readUInt32BE(end + 7)}/${bytes.readInt16BE(end + 11)}/${bytes.readInt32BE(end + 13)}`,
      bytes.readInt16BE(end + 17) === 0 ? 'text' : 'binary',
    ]
    columns.push(`${bytes.toString('utf8', at, end)} (${numbers.join(', ')})`)
    at = end + 19
  }
  return columns.join('; ')
}

function renderValues(bytes: Buffer): string {
  const values: string[] = []
  let at = 7
  for (let left = bytes.readUInt16BE(5); left > 0; left -= 1) {
    const length = bytes.readInt32BE(at)
    values.push(length < 0 ? 'null' : quoted(bytes.subarray(at + 4, at + 4 + length)))
    at += 4 + Math.max(length, 0)
  }
  return values.join(', ')
}

const shownBytesMax = 120

function quoted(bytes: Buffer): string {
  const shown = bytes.subarray(0, shownBytesMax)
  const rest = bytes.length > shownBytesMax ? `… (${bytes.length} bytes)` : ''
  const text = shown.toString('latin1').replace(/[^ -~]/g, (c) => {
    return `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`
  })
  return text === '' && rest === '' ? '""' : `"${text}"${rest}`
}
