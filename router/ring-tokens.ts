// The ring itself: MurmurHash3 x64-128 tokens of shards and vnodes on a circle of 2^32 points. A shard's tokens
// depend on its own name and weight alone, so that a change of the others leaves them where they are.
import murmur from 'murmurhash3js-revisited'
import type { ShardId } from '../core/ids.ts'

export type Ring = {
  /** A vnode's place on the circle. */
  readonly vnodeTokens: Uint32Array
  /** First shard clockwise from the vnode that `accepts`; undefined when none does. */
  readonly firstClockwise: (
    vnode: number,
    accepts: (shard: number) => boolean,
  ) => number | undefined
  /** Clockwise distance from the vnode to the nearest token of a shard that `accepts`. */
  readonly distance: (vnode: number, accepts: (shard: number) => boolean) => number
}

const circle = 2 ** 32
const tokensPerWeight = 128
// Weights may be any numbers (1, or gigabytes of memory): the bounds do the weighing, tokens only prefer.
const tokensMin = 16
const tokensMax = 512
const tokensPerHash = 4

/** Ring of these shards; ties between tokens are broken by the shards' names. */
export function buildRing(
  vnodeCount: number,
  shards: readonly { readonly id: ShardId; readonly weight: number }[],
): Ring {
  const marks = shards
    .flatMap(({ id, weight }, shard) => tokensOf(id, weight).map((token) => ({ token, shard, id })))
    .sort((a, b) => a.token - b.token || (a.id < b.id ? -1 : 1))
  const tokens = Uint32Array.from(marks, (mark) => mark.token)
  const owners = Uint16Array.from(marks, (mark) => mark.shard)
  const vnodeTokens = Uint32Array.from({ length: vnodeCount }, (_, vnode) => vnodeToken(vnode))
  const find = (vnode: number, accepts: (shard: number) => boolean): number | undefined => {
    const start = firstAtOrAfter(tokens, vnodeTokens[vnode] ?? 0)
    for (let step = 0; step < owners.length; step++) {
      const index = (start + step) % owners.length
      if (accepts(owners[index] ?? 0)) return index
    }
    return undefined
  }
  return {
    vnodeTokens,
    firstClockwise: (vnode, accepts) => {
      const index = find(vnode, accepts)
      return index === undefined ? undefined : owners[index]
    },
    distance: (vnode, accepts) => {
      const index = find(vnode, accepts)
      if (index === undefined) return circle
      return ((tokens[index] ?? 0) - (vnodeTokens[vnode] ?? 0) + circle) % circle
    },
  }
}

function tokensOf(id: ShardId, weight: number): number[] {
  if (weight <= 0) return []
  const count = Math.round(Math.min(tokensMax, Math.max(tokensMin, weight * tokensPerWeight)))
  const hashes = Array.from({ length: Math.ceil(count / tokensPerHash) }, (_, index) =>
    words(`shard:${id}:${index}`),
  )
  return hashes.flat().slice(0, count)
}

function vnodeToken(vnode: number): number {
  return words(`vnode:${vnode}`)[0] ?? 0
}

/** The four 32-bit words of a name's hash. */
function words(name: string): number[] {
  const hex = murmur.x64.hash128(new TextEncoder().encode(name))
  return [0, 8, 16, 24].map((start) => Number.parseInt(hex.slice(start, start + 8), 16))
}

/** Index of the first token at or after `token`; past the end means the circle's beginning. */
function firstAtOrAfter(tokens: Uint32Array, token: number): number {
  let low = 0
  let high = tokens.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((tokens[middle] ?? 0) < token) low = middle + 1
    else high = middle
  }
  return low
}
