// Key → virtual node, in the arithmetic that PostgreSQL has built in: hashint8extended, hashtextextended and
// uuid_hash_extended with seed 0 (src/common/hashfn.c, Bob Jenkins' lookup3). A row's owner can so be computed
// by proxy and database alike (ringfence.vnode). Only the upper 32 of the 64 bits are needed; no BigInt is.
import { assert } from '../core/assert.ts'
import { vnode, type Vnode } from '../core/ids.ts'

/** A shard key's value: an integer within int8, or the bytes of a text (UTF-8) or of a uuid (16). */
export type KeyValue =
  | { readonly kind: 'bigint'; readonly value: bigint }
  | { readonly kind: 'text'; readonly bytes: Uint8Array }
  | { readonly kind: 'uuid'; readonly bytes: Uint8Array }

const bitsMax = 16
const twoTo32 = 4_294_967_296
const golden = 0x9e3779b9
/** Added to the length before mixing: `0x9e3779b9 + len + 3923095` in hashfn.c. */
const initial = (golden + 3_923_095) | 0

/** log2 of a cluster's number of virtual nodes, which is a power of two up to 65,536. */
export function vnodeBitsOf(vnodeCount: number): number {
  const bits = 31 - Math.clz32(vnodeCount)
  assert(vnodeCount === 2 ** bits && bits <= bitsMax, `${vnodeCount} vnodes are a power of two`)
  return bits
}

/** Virtual node of a key of any type. */
export function vnodeOfKey(key: KeyValue, vnodeBits: number): Vnode {
  if (key.kind === 'bigint') return vnodeOfInt(key.value, vnodeBits)
  return key.kind === 'text' ? vnodeOfText(key.bytes, vnodeBits) : vnodeOfUuid(key.bytes, vnodeBits)
}

/** Virtual node of a smallint, integer or bigint: `hashint8extended(key, 0)`. A number is a safe integer. */
export function vnodeOfInt(key: bigint | number, vnodeBits: number): Vnode {
  const exact = typeof key === 'number' || isSafe(key)
  const number = exact ? Number(key) : 0
  const low = exact ? number | 0 : Number(BigInt.asIntN(32, key))
  const high = exact ? Math.floor(number / twoTo32) | 0 : Number(key >> 32n) | 0
  // The sign folds away so that int2, int4 and int8 of one value have one hash.
  const folded = low ^ (high >= 0 ? high : ~high)
  const start = (initial + 4) | 0
  return upperBits(finish((start + folded) | 0, start, start), vnodeBits)
}

/** Virtual node of a text or varchar under a deterministic collation: `hashtextextended(key, 0)`. */
export function vnodeOfText(utf8: Uint8Array, vnodeBits: number): Vnode {
  return upperBits(hashBytes(utf8), vnodeBits)
}

/** Virtual node of a uuid in network byte order: `uuid_hash_extended(key, 0)`. */
export function vnodeOfUuid(bytes: Uint8Array, vnodeBits: number): Vnode {
  assert(bytes.length === 16, 'a uuid has 16 bytes')
  return upperBits(hashBytes(bytes), vnodeBits)
}

function isSafe(key: bigint): boolean {
  return key >= -9_007_199_254_740_991n && key <= 9_007_199_254_740_991n
}

function upperBits(hashHigh: number, vnodeBits: number): Vnode {
  // A shift by 32 would be a shift by 0.
  return vnode(vnodeBits === 0 ? 0 : hashHigh >>> (32 - vnodeBits))
}

/** Upper half of hash_bytes_extended(bytes, 0); words are little-endian on every platform here. */
function hashBytes(bytes: Uint8Array): number {
  const { length } = bytes
  let a = (initial + length) | 0
  let b = a
  let c = a
  let at = 0
  for (; length - at >= 12; at += 12) {
    a = (a + word(bytes, at)) | 0
    b = (b + word(bytes, at + 4)) | 0
    c = (c + word(bytes, at + 8)) | 0
    a = ((a - c) | 0) ^ rotate(c, 4)
    c = (c + b) | 0
    b = ((b - a) | 0) ^ rotate(a, 6)
    a = (a + c) | 0
    c = ((c - b) | 0) ^ rotate(b, 8)
    b = (b + a) | 0
    a = ((a - c) | 0) ^ rotate(c, 16)
    c = (c + b) | 0
    b = ((b - a) | 0) ^ rotate(a, 19)
    a = (a + c) | 0
    c = ((c - b) | 0) ^ rotate(b, 4)
    b = (b + a) | 0
  }
  // The last byte of c belongs to the length, so the tail's third word starts one byte higher.
  a = (a + word(bytes, at)) | 0
  b = (b + word(bytes, at + 4)) | 0
  c = (c + (word(bytes, at + 8) << 8)) | 0
  return finish(a, b, c)
}

/** Four bytes from `at`, little-endian; bytes past the end count as 0. */
function word(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at] ?? 0) |
    ((bytes[at + 1] ?? 0) << 8) |
    ((bytes[at + 2] ?? 0) << 16) |
    ((bytes[at + 3] ?? 0) << 24)
  )
}

/** `final` of hashfn.c up to the last change of b: b is the upper half of the 64 bits. */
function finish(a: number, b: number, c: number): number {
  c = ((c ^ b) - rotate(b, 14)) | 0
  a = ((a ^ c) - rotate(c, 11)) | 0
  b = ((b ^ a) - rotate(a, 25)) | 0
  c = ((c ^ b) - rotate(b, 16)) | 0
  a = ((a ^ c) - rotate(c, 4)) | 0
  return ((b ^ a) - rotate(a, 14)) | 0
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits))
}
