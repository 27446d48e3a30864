// Messages of pgoutput, PostgreSQL's logical replication output plugin, protocol versions 1 to 4
// (manual, "Logical Replication Message Formats"). Inside of a chunk of a streamed transaction
// every change starts with its xid, so the caller says where it is. Whatever does not fit is a
// protocolViolation (08P01).
import { type Lsn, lsn } from '../core/lsn.ts'
import { type PgoutputTuple, readTuple } from './pgoutput-tuple.ts'
import { Reader, violation } from './reader.ts'

/** A column as its relation is described. `key`: part of the replica identity. */
type PgoutputColumn = {
  readonly key: boolean
  readonly name: string
  readonly typeOid: number
  readonly typmod: number
}

/** The row's old version: `key` has the replica identity's columns, `full` all of them. */
export type PgoutputOld = { readonly kind: 'key' | 'full'; readonly tuple: PgoutputTuple }

/** `xid`: in a chunk, the transaction or subtransaction that made the change; else 0. */
export type PgoutputRelation = {
  readonly kind: 'relation'
  readonly xid: number
  readonly relation: number
  readonly schema: string
  readonly name: string
  /** pg_class.relreplident: d default, n nothing, f full, i index. */
  readonly identity: string
  readonly columns: readonly PgoutputColumn[]
}

/** A row written or removed; `relation` is the oid that a relation message has described. */
export type PgoutputRow =
  | {
      readonly kind: 'insert'
      readonly xid: number
      readonly relation: number
      readonly tuple: PgoutputTuple
    }
  | {
      readonly kind: 'update'
      readonly xid: number
      readonly relation: number
      readonly old: PgoutputOld | null
      readonly tuple: PgoutputTuple
    }
  | {
      readonly kind: 'delete'
      readonly xid: number
      readonly relation: number
      readonly old: PgoutputOld
    }

export type PgoutputTruncate = {
  readonly kind: 'truncate'
  readonly xid: number
  readonly relations: readonly number[]
  readonly cascade: boolean
  readonly restartIdentity: boolean
}

/** Written by pg_logical_emit_message(). `content` is a view. */
type PgoutputEmitted = {
  readonly kind: 'message'
  readonly xid: number
  readonly transactional: boolean
  readonly lsn: Lsn
  readonly prefix: string
  readonly content: Uint8Array
}

/**
 * `finalLsn`: where the commit record starts; `endLsn`: behind it. Times are microseconds since
 * 2000-01-01 UTC.
 */
export type PgoutputMessage =
  | {
      readonly kind: 'begin'
      readonly finalLsn: Lsn
      readonly timeMicros: bigint
      readonly xid: number
    }
  | {
      readonly kind: 'commit'
      readonly finalLsn: Lsn
      readonly endLsn: Lsn
      readonly timeMicros: bigint
    }
  | { readonly kind: 'origin'; readonly lsn: Lsn; readonly name: string }
  | PgoutputRelation
  | {
      readonly kind: 'type'
      readonly xid: number
      readonly oid: number
      readonly schema: string
      readonly name: string
    }
  | PgoutputRow
  | PgoutputTruncate
  | PgoutputEmitted
  | { readonly kind: 'streamStart'; readonly xid: number; readonly first: boolean }
  | { readonly kind: 'streamStop' }
  | {
      readonly kind: 'streamCommit'
      readonly xid: number
      readonly finalLsn: Lsn
      readonly endLsn: Lsn
      readonly timeMicros: bigint
    }
  /**
   * `subxid` equals `xid` when all of it is aborted. `abortLsn` is sent under streaming = parallel
   * only.
   */
  | {
      readonly kind: 'streamAbort'
      readonly xid: number
      readonly subxid: number
      readonly abortLsn: Lsn | null
    }

/** Columns of a heap tuple are at most 1,600; a relation's description never has more. */
const columnsMax = 1664
const twoPhaseCodes = new Set(Buffer.from('bPKrp'))

/**
 * One message; values are views of `bytes`. `inChunk`: between Stream Start and Stream Stop.
 * @throws PgError 08P01 for what is none, and for messages of two-phase decoding, which was not
 * asked for.
 */
export function decodePgoutput(bytes: Uint8Array, inChunk: boolean): PgoutputMessage {
  const r = new Reader(bytes, 0)
  const message = readMessage(r, inChunk)
  r.end()
  return message
}

function readMessage(r: Reader, inChunk: boolean): PgoutputMessage {
  const code = r.u8()
  switch (String.fromCharCode(code)) {
    case 'I':
      return readInsert(r, readXid(r, inChunk))
    case 'U':
      return readUpdate(r, readXid(r, inChunk))
    case 'D':
      return readDelete(r, readXid(r, inChunk))
    case 'B':
      return { kind: 'begin', finalLsn: readLsn(r), timeMicros: readU64(r), xid: r.u32() }
    case 'C':
      return { kind: 'commit', ...readCommit(r) }
    case 'O':
      return { kind: 'origin', lsn: readLsn(r), name: r.cstring() }
    case 'R':
      return readRelation(r, readXid(r, inChunk))
    case 'Y':
      return {
        kind: 'type',
        xid: readXid(r, inChunk),
        oid: r.u32(),
        schema: r.cstring(),
        name: r.cstring(),
      }
    case 'T':
      return readTruncate(r, readXid(r, inChunk))
    case 'M':
      return readEmitted(r, readXid(r, inChunk))
    case 'S':
      if (inChunk) throw violation('a streamed chunk inside of another')
      return { kind: 'streamStart', xid: r.u32(), first: r.u8() === 1 }
    case 'E':
      if (!inChunk) throw violation('the end of a streamed chunk outside of one')
      return { kind: 'streamStop' }
    case 'c':
      return { kind: 'streamCommit', xid: r.u32(), ...readCommit(r) }
    case 'A':
      return readStreamAbort(r)
    default:
      if (twoPhaseCodes.has(code)) throw violation('two-phase messages were not asked for')
      throw violation(`unknown logical replication message ${code}`)
  }
}

function readXid(r: Reader, inChunk: boolean): number {
  return inChunk ? r.u32() : 0
}

function readCommit(r: Reader) {
  if (r.u8() !== 0) throw violation('unknown flags of a commit')
  return { finalLsn: readLsn(r), endLsn: readLsn(r), timeMicros: readU64(r) }
}

function readRelation(r: Reader, xid: number): PgoutputRelation {
  const relation = r.u32()
  // pg_catalog is written as an empty name.
  const schema = r.cstring() || 'pg_catalog'
  const name = r.cstring()
  const identity = String.fromCharCode(r.u8())
  const count = r.u16()
  if (count > columnsMax) throw violation(`a relation of ${count} columns`)
  const columns: PgoutputColumn[] = []
  for (let left = count; left > 0; left--) {
    const key = (r.u8() & 1) === 1
    columns.push({ key, name: r.cstring(), typeOid: r.u32(), typmod: r.i32() })
  }
  return { kind: 'relation', xid, relation, schema, name, identity, columns }
}

function readInsert(r: Reader, xid: number): PgoutputRow {
  const relation = r.u32()
  if (r.u8() !== 0x4e) throw violation('an insert without a new row')
  return { kind: 'insert', xid, relation, tuple: readTuple(r) }
}

function readUpdate(r: Reader, xid: number): PgoutputRow {
  const relation = r.u32()
  let marker = r.u8()
  let old: PgoutputOld | null = null
  if (marker !== 0x4e) {
    old = readOld(r, marker)
    marker = r.u8()
  }
  if (marker !== 0x4e) throw violation('an update without a new row')
  return { kind: 'update', xid, relation, old, tuple: readTuple(r) }
}

function readDelete(r: Reader, xid: number): PgoutputRow {
  const relation = r.u32()
  return { kind: 'delete', xid, relation, old: readOld(r, r.u8()) }
}

/** `marker`: K or O. */
function readOld(r: Reader, marker: number): PgoutputOld {
  if (marker !== 0x4b && marker !== 0x4f) throw violation(`unknown kind of row ${marker}`)
  return { kind: marker === 0x4b ? 'key' : 'full', tuple: readTuple(r) }
}

function readTruncate(r: Reader, xid: number): PgoutputTruncate {
  const count = r.u32()
  const flags = r.u8()
  if (count > r.remaining / 4) throw violation('insufficient data left in message')
  const relations: number[] = []
  for (let left = count; left > 0; left--) relations.push(r.u32())
  const cascade = (flags & 1) !== 0
  return { kind: 'truncate', xid, relations, cascade, restartIdentity: (flags & 2) !== 0 }
}

function readEmitted(r: Reader, xid: number): PgoutputEmitted {
  const transactional = (r.u8() & 1) === 1
  const at = readLsn(r)
  const prefix = r.cstring()
  const content = r.value()
  if (content === null) throw violation('a message without content')
  return { kind: 'message', xid, transactional, lsn: at, prefix, content }
}

function readStreamAbort(r: Reader): PgoutputMessage {
  const xid = r.u32()
  const subxid = r.u32()
  if (r.remaining === 0) return { kind: 'streamAbort', xid, subxid, abortLsn: null }
  const abortLsn = readLsn(r)
  r.take(8)
  return { kind: 'streamAbort', xid, subxid, abortLsn }
}

function readLsn(r: Reader): Lsn {
  return lsn(readU64(r))
}

function readU64(r: Reader): bigint {
  return (BigInt(r.u32()) << 32n) | BigInt(r.u32())
}
