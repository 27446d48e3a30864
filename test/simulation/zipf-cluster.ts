// A cluster as the planner sees it, made from a seed: keys whose load falls off by Zipf's law and whose sizes differ by
// orders of magnitude and have nothing to do with load, hashed to virtual nodes, spread over shards at random.
import { shardId, type Vnode, vnode } from '../../core/ids.ts'
import type { KeyLoad, PlanInput } from '../../rebalancer/plan/plan-input.ts'
import { createRandom, type Random } from '../support/random.ts'

export type ZipfOptions = {
  readonly shards: number
  readonly exponent: number
  readonly keys?: number
  readonly vnodes?: number
  /** `add`: the last shard is empty; `drain`: the first one drains; `weights`: capacities are 1, 2 and 3. */
  readonly variant?: 'plain' | 'add' | 'drain' | 'weights'
}

const hotKeysMax = 256
const bytesMean = 10_000

/** Input of a plan for (1 + 0.1) × the mean, without a budget. */
export function zipfCluster(seed: number, options: ZipfOptions): PlanInput {
  const { shards, exponent, keys = 20_000, vnodes = 4_096, variant = 'plain' } = options
  const random = createRandom(seed)
  const loads = new Float64Array(vnodes)
  const bytes = new Float64Array(vnodes)
  const hotKeys: KeyLoad[] = []
  for (let rank = 1; rank <= keys; rank += 1) {
    const at = random.below(vnodes)
    const key = { key: String(rank), vnode: vnode(at), load: 1_000 / rank ** exponent }
    const size = Math.round(bytesMean * Math.exp(2 * gaussian(random)))
    loads[at] = (loads[at] ?? 0) + key.load
    bytes[at] = (bytes[at] ?? 0) + size
    if (rank <= hotKeysMax) hotKeys.push({ ...key, bytes: size })
  }
  const ids = Array.from({ length: shards }, (_, at) => shardId(`s${at + 1}`))
  const owners = variant === 'add' ? ids.slice(0, -1) : ids
  return {
    shards: ids.map((id, at) => ({
      id,
      weight: variant === 'weights' ? 1 + (at % 3) : 1,
      draining: variant === 'drain' && at === 0,
    })),
    vnodes: Array.from(loads, (load, at) => {
      const shard = owners[random.below(owners.length)] ?? shardId('')
      return { vnode: vnode(at), shard, load, bytes: bytes[at] ?? 0 }
    }),
    hotKeys,
    pins: [],
    epsilon: 0.1,
    bytesMax: null,
  }
}

/** Largest load of what cannot be divided: a hot key, or what else of a virtual node comes with it. */
export function heaviestAtom({ vnodes, hotKeys }: PlanInput): number {
  const rests = new Map<Vnode, number>(vnodes.map((entry) => [entry.vnode, entry.load]))
  let heaviest = 0
  for (const key of hotKeys) {
    heaviest = Math.max(heaviest, key.load)
    rests.set(key.vnode, (rests.get(key.vnode) ?? 0) - key.load)
  }
  for (const rest of rests.values()) heaviest = Math.max(heaviest, rest)
  return heaviest
}

/** Box and Muller. */
function gaussian(random: Random): number {
  const uniform = () => (random.below(1_000_000) + 0.5) / 1_000_000
  return Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform())
}
