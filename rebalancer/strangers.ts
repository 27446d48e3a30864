// Rows that do not belong on a shard, as a set like any other.
import { type ShardId, vnode, type Vnode } from '../core/ids.ts'
import { vnodeBitsOf } from '../router/key-hash.ts'
import { keyFromText } from '../router/key-text.ts'
import type { MovedSet } from '../router/moved-set.ts'
import type { ShardingRules } from '../router/schema.ts'
import { ownerOf, placeOfKey, type Topology } from '../router/topology.ts'

/** Virtual nodes that other shards own, but for keys pinned here, and keys pinned elsewhere. */
export function strangers(topology: Topology, shard: ShardId, rules: ShardingRules): MovedSet {
  const bits = vnodeBitsOf(rules.vnodeCount)
  const vnodes: Vnode[] = []
  for (let number = 0; number < rules.vnodeCount; number += 1) {
    if (ownerOf(topology, vnode(number)) !== shard) vnodes.push(vnode(number))
  }
  const keys: string[] = []
  const except: string[] = []
  for (const [text, pinned] of topology.pins) {
    const key = keyFromText(text, rules.keyType)
    if (key === undefined) continue
    if (pinned === shard) except.push(text)
    else if (ownerOf(topology, placeOfKey(topology, key, bits).vnode) === shard) keys.push(text)
  }
  return { vnodes, keys, except }
}
