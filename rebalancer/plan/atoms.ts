// What a plan moves about, as one kind of thing: whole virtual nodes, keys that have a pin, and hot keys that are
// split off a virtual node which is too heavy for any shard. Atoms stand in one order whatever the input's order was.
import type { ShardId, Vnode } from '../../core/ids.ts'
import type { KeyLoad, PlanInput } from './plan-input.ts'

/** One thing that lives on one shard. `vnode` null: a key of its own, `key`. */
export type Atom = {
  readonly vnode: Vnode | null
  readonly key: string | null
  /** Index of its shard before the plan. */
  readonly from: number
  readonly load: number
  readonly bytes: number
  /** What moving it costs: its bytes, or 1 where no size is known. */
  readonly cost: number
  /** False for what is left of a virtual node whose hot keys were split off: it waits for the next plan. */
  readonly movable: boolean
}

export type AtomSet = {
  readonly atoms: readonly Atom[]
  /** What stood in for load; the server's time unless nothing was measured. */
  readonly measure: 'load' | 'bytes' | 'count'
  readonly unsized: boolean
}

/** Of a virtual node's load: less than that is not a key worth a pin. */
const hotShareMin = 0.2

/**
 * Atoms of `input`, over `shards` by index. Virtual nodes heavier than `splitAbove` are split where keys of theirs are
 * known to be hot; those of draining shards are not, as all of them leaves.
 */
export function atomsOf(
  input: PlanInput,
  shards: readonly { readonly id: ShardId; readonly draining: boolean }[],
  splitAbove: number,
): AtomSet {
  const index = new Map(shards.map(({ id }, at) => [id, at]))
  const things = [...input.vnodes, ...input.pins]
  const measure = measureOf(things)
  const unsized = things.every(({ bytes }) => bytes === 0)
  const hot = measure === 'load' ? byVnode(input.hotKeys) : new Map<Vnode, KeyLoad[]>()
  const loadOf = (thing: Weighed) => (measure === 'count' ? 1 : thing[measure])
  const atoms: Atom[] = []
  const add = (thing: Weighed, name: Pick<Atom, 'vnode' | 'key' | 'from'>, movable = true) => {
    const cost = unsized ? 1 : thing.bytes
    atoms.push({ ...name, load: loadOf(thing), bytes: thing.bytes, cost, movable })
  }
  for (const entry of [...input.vnodes].sort((a, b) => a.vnode - b.vnode)) {
    const from = index.get(entry.shard) ?? -1
    const { vnode } = entry
    const keys = entry.load > splitAbove && shards[from]?.draining !== true ? hot.get(vnode) : []
    const rest = { load: entry.load, bytes: entry.bytes }
    for (const key of keys ?? []) {
      if (key.load < hotShareMin * entry.load || key.load > rest.load) continue
      const bytes = Math.min(key.bytes, rest.bytes)
      add({ load: key.load, bytes }, { vnode: null, key: key.key, from })
      rest.load -= key.load
      rest.bytes -= bytes
    }
    add(rest, { vnode, key: null, from }, rest.load === entry.load)
  }
  for (const pin of [...input.pins].sort((a, b) => compare(a.key, b.key))) {
    add(pin, { vnode: null, key: pin.key, from: index.get(pin.shard) ?? -1 })
  }
  return { atoms, measure, unsized }
}

type Weighed = { readonly load: number; readonly bytes: number }

function measureOf(things: readonly Weighed[]): AtomSet['measure'] {
  if (things.some(({ load }) => load > 0)) return 'load'
  return things.some(({ bytes }) => bytes > 0) ? 'bytes' : 'count'
}

/** Hottest first, per virtual node. */
function byVnode(keys: readonly KeyLoad[]): ReadonlyMap<Vnode, readonly KeyLoad[]> {
  const grouped = new Map<Vnode, KeyLoad[]>()
  for (const key of [...keys].sort((a, b) => b.load - a.load || compare(a.key, b.key))) {
    const known = grouped.get(key.vnode)
    if (known === undefined) grouped.set(key.vnode, [key])
    else known.push(key)
  }
  return grouped
}

/** By code units: the same everywhere, whatever the locale. */
export function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
