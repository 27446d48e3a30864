// What a session has written and seen, as text that travels in a cookie or a header to any proxy
// with the same key. `rf1.` and base64url of: version (1 byte), number of shards (2), per shard,
// sorted by name: length (1) and name, system identifier (8), timeline (4), LSN (8); then the first
// 16 bytes of an HMAC-SHA256 over scope and body, so that nobody makes one up and one database's
// token does not pass for another's. One set of positions has one text.
import { createHmac, timingSafeEqual } from 'node:crypto'
import { assert } from './assert.ts'
import { type PgError, pgError } from './errors.ts'
import { type ShardId, shardId } from './ids.ts'
import { lsn } from './lsn.ts'
import type { Position, Positions } from './position.ts'

const prefix = 'rf1.'
const version = 1
const shardsMax = 1024
/** Bytes of body and signature. Holds `shardsMax` shards whose names are as long as they may be. */
const tokenBytesMax = 65_536
const textCharsMax = prefix.length + Math.ceil((tokenBytesMax * 4) / 3)
const headBytes = 3
const placeBytes = 20
const macBytes = 16
const u64Max = 2n ** 64n - 1n

/** The token of these positions. `scope`: the database's name; `key`: the secret of all proxies. */
export function encodeToken(positions: Positions, key: Uint8Array, scope: string): string {
  assert(positions.size <= shardsMax, `a session token holds up to ${shardsMax} shards`)
  const entries = [...positions].map(([shard, position]) => entryBytes(shard, position))
  const head = Buffer.alloc(headBytes)
  head.writeUInt8(version, 0)
  head.writeUInt16BE(entries.length, 1)
  const body = Buffer.concat([head, ...entries.sort(compareNames)])
  assert(body.length + macBytes <= tokenBytesMax, 'a session token has a bounded size')
  return prefix + Buffer.concat([body, signature(body, key, scope)]).toString('base64url')
}

/**
 * The positions that `encodeToken` wrote with the same key and scope.
 * @throws PgError 22023 for anything else: nonsense, another key, database or version, too long.
 */
export function decodeToken(text: string, key: Uint8Array, scope: string): Positions {
  if (!text.startsWith(prefix)) throw invalid(`It does not start with "${prefix}".`)
  if (text.length > textCharsMax) throw invalid(`It is longer than ${textCharsMax} characters.`)
  const encoded = text.slice(prefix.length)
  const bytes = Buffer.from(encoded, 'base64url')
  // Node ignores what is not base64url and the bits behind the last byte: one token, several texts.
  if (bytes.toString('base64url') !== encoded) throw invalid('It is not base64url.')
  if (bytes.length < headBytes + macBytes) throw invalid('It is too short.')
  const body = bytes.subarray(0, -macBytes)
  if (!timingSafeEqual(bytes.subarray(-macBytes), signature(body, key, scope))) {
    throw invalid('Its signature is of another token, database or key.')
  }
  return positionsOf(body)
}

/** u8 length, name, u64 system identifier, u32 timeline, u64 LSN. */
function entryBytes(shard: ShardId, { systemId, timeline, lsn }: Position): Buffer {
  const name = Buffer.from(shard)
  const system = BigInt(systemId)
  assert(name.length <= 255, 'the name of a shard has up to 255 bytes')
  assert(system >= 0n && system <= u64Max, 'a system identifier has 64 bits')
  const entry = Buffer.alloc(1 + name.length + placeBytes)
  entry.writeUInt8(name.length, 0)
  name.copy(entry, 1)
  entry.writeBigUInt64BE(system, 1 + name.length)
  entry.writeUInt32BE(timeline, 9 + name.length)
  entry.writeBigUInt64BE(lsn, 13 + name.length)
  return entry
}

function compareNames(a: Buffer, b: Buffer): number {
  return Buffer.compare(nameOf(a), nameOf(b))
}

function nameOf(entry: Buffer): Buffer {
  return entry.subarray(1, entry.length - placeBytes)
}

/** The scope goes in with its length: no two pairs of scope and body give the same bytes. */
function signature(body: Uint8Array, key: Uint8Array, scope: string): Buffer {
  const scopeBytes = Buffer.from(scope)
  const mac = createHmac('sha256', key).update(`ringfence session token ${scopeBytes.length}:`)
  return mac.update(scopeBytes).update(body).digest().subarray(0, macBytes)
}

/** Signed and yet wrong it can be after the format has changed: it is read like a stranger's. */
function positionsOf(body: Buffer): Positions {
  if (body.readUInt8(0) !== version) throw invalid('It is of another version.')
  const count = body.readUInt16BE(1)
  if (count > shardsMax) throw invalid(`It has more than ${shardsMax} shards.`)
  const positions = new Map<ShardId, Position>()
  let at = headBytes
  for (let index = 0; index < count; index += 1) {
    const nameBytes = at < body.length ? body.readUInt8(at) : 0
    const end = at + 1 + nameBytes + placeBytes
    if (end > body.length) throw invalid('It is cut off.')
    const name = body.toString('utf8', at + 1, at + 1 + nameBytes)
    at = end - placeBytes
    positions.set(shardId(name), {
      systemId: body.readBigUInt64BE(at).toString(),
      timeline: body.readUInt32BE(at + 8),
      lsn: lsn(body.readBigUInt64BE(at + 12)),
    })
    at = end
  }
  if (at !== body.length || positions.size !== count) throw invalid('It is not well-formed.')
  return positions
}

function invalid(detail: string): PgError {
  return pgError('sessionTokenInvalid', [], { detail })
}
