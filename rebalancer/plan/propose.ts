// The planner: measured loads and sizes in, moves out. Pure and deterministic: the same input, in whatever order, gives
// the same plan. Loads are bounded by weight (Mirrokni et al. 2016), few bytes are moved (Slicer, OSDI 2016), and
// where a virtual node is too heavy for any shard its hot keys get a shard of their own (E-Store, VLDB 2014).
import { atomsOf, type AtomSet, compare } from './atoms.ts'
import type { Balance, PlanInput, Proposal, ProposedMove } from './plan-input.ts'
import { Placement, type PlannedShard } from './placement.ts'
import { search, type Searched } from './search.ts'

/** How many times a plan is made again, with a weaker target, until it fits the budget. */
const budgetSteps = 8

type Found = Searched & { readonly set: AtomSet }

/** Moves that bring every shard to at most (1 + epsilon) × its fair share, or as near as the budget lets them. */
export function propose(input: PlanInput): Proposal {
  const shards = plannedShards(input)
  const wanted = find(input, shards, input.epsilon)
  const found = withinBudget(input, shards, wanted)
  const { set } = found
  const before = balanceOf(new Placement(set.atoms, shards, input.epsilon))
  const all = groupMoves(found.placement)
  const moves = all.slice(0, input.movesMax ?? all.length)
  const done = apply(found.placement, moves)
  const after = balanceOf(done)
  const notes = notesOf(input, wanted, found, done)
  if (moves.length < all.length) {
    notes.push(`${all.length - moves.length} of ${all.length} moves are left for later plans.`)
  }
  const lowerBoundBytes = wanted.set.unsized ? 0 : wanted.costMin
  return { moves, before, after, lowerBoundBytes, notes }
}

/** How even the load is that `input` tells of, as it is now. */
export function presentBalance(input: PlanInput): Balance {
  const shards = plannedShards(input)
  const { atoms } = atomsOf(input, shards, Number.POSITIVE_INFINITY)
  return balanceOf(new Placement(atoms, shards, input.epsilon))
}

function plannedShards({ shards }: PlanInput): readonly PlannedShard[] {
  return shards
    .map(({ id, weight, draining }) => ({ id, weight, draining: draining || weight === 0 }))
    .sort((a, b) => compare(a.id, b.id))
}

/** With hot keys split off what is too heavy for any shard; if need be, off everything that is too heavy to fit. */
function find(
  input: PlanInput,
  shards: readonly PlannedShard[],
  epsilon: number,
  effort: 'full' | 'rough' = 'full',
): Found {
  const whole = atomsOf(input, shards, Number.POSITIVE_INFINITY)
  const { bounds, fair } = new Placement(whole.atoms, shards, epsilon)
  const highest = bounds.reduce((high, bound) => Math.max(high, bound), 0)
  const searchIn = (set: AtomSet): Found => ({
    set,
    ...search(set.atoms, shards, epsilon, effort),
  })
  const first = searchIn(atomsOf(input, shards, highest))
  if (input.hotKeys.length === 0 || first.placement.overloaded.length === 0) return first
  const least = fair.reduce((low, share) => (share > 0 ? Math.min(low, share) : low), highest)
  const finer = searchIn(atomsOf(input, shards, epsilon * least))
  return finer.placement.maxOverMean < first.placement.maxOverMean - 1e-9 ? finer : first
}

/** The strictest target whose plan fits the budget. */
function withinBudget(input: PlanInput, shards: readonly PlannedShard[], wanted: Found): Found {
  const budget = input.bytesMax
  if (budget === null || wanted.placement.bytesMoved <= budget) return wanted
  let tooMuch = input.epsilon
  let fits = Math.max(input.epsilon, new Placement(wanted.set.atoms, shards, 0).maxOverMean)
  let best = partOf(find(input, shards, fits, 'rough'), budget)
  for (let step = 0; step < budgetSteps; step += 1) {
    const middle = (tooMuch + fits) / 2
    const tried = find(input, shards, middle, 'rough')
    if (tried.placement.bytesMoved > budget) tooMuch = middle
    else {
      fits = middle
      best = tried
    }
  }
  return best
}

/** Even the weakest target moves too much, because of a shard that drains: what fits of it, most load per byte first. */
function partOf(found: Found, budget: number): Found {
  const { set, placement: whole } = found
  const placement = new Placement(set.atoms, whole.shards, whole.epsilon)
  let left = budget
  const density = (index: number) => whole.atom(index).load / (whole.atom(index).bytes + 1)
  const densest = [...whole.movedAtoms].sort((a, b) => density(b) - density(a) || a - b)
  for (const index of densest) {
    const { bytes } = whole.atom(index)
    if (bytes > left) continue
    left -= bytes
    placement.place(index, whole.at[index] ?? 0)
  }
  return { ...found, placement }
}

/** Moves by pair of shards. Those with load first; keys of a virtual node leave before anything comes in its place. */
function groupMoves(placement: Placement): readonly ProposedMove[] {
  const groups = new Map<string, { to: number; indexes: number[] }>()
  for (const index of placement.movedAtoms) {
    const to = placement.at[index] ?? 0
    const name = `${placement.atom(index).from} ${to}`
    const group = groups.get(name)
    if (group === undefined) groups.set(name, { to, indexes: [index] })
    else group.indexes.push(index)
  }
  const moves = [...groups.values()].map(({ to, indexes }) => moveOf(placement, to, indexes))
  return moves.sort(
    (a, b) =>
      b.load - a.load || a.bytes - b.bytes || compare(a.from, b.from) || compare(a.to, b.to),
  )
}

function moveOf(placement: Placement, to: number, indexes: readonly number[]): ProposedMove {
  const atoms = indexes.map((index) => placement.atom(index))
  const idOf = (shard: number | undefined) => {
    const found = placement.shards[shard ?? -1]
    if (found === undefined) throw new Error(`broken invariant: no shard ${shard}`)
    return found.id
  }
  return {
    from: idOf(atoms[0]?.from),
    to: idOf(to),
    vnodes: atoms.flatMap(({ vnode }) => (vnode === null ? [] : [vnode])),
    keys: atoms.flatMap(({ key }) => (key === null ? [] : [key])),
    load: atoms.reduce((sum, { load }) => sum + load, 0),
    bytes: atoms.reduce((sum, { bytes }) => sum + bytes, 0),
  }
}

/** The placement after `moves` alone. */
function apply(full: Placement, moves: readonly ProposedMove[]): Placement {
  const kept = new Set(moves.map(({ from, to }) => `${from}\0${to}`))
  const placement = new Placement(full.atoms, full.shards, full.epsilon)
  for (const index of full.movedAtoms) {
    const to = full.at[index] ?? 0
    const name = `${full.shards[full.atom(index).from]?.id}\0${full.shards[to]?.id}`
    if (kept.has(name)) placement.place(index, to)
  }
  return placement
}

function balanceOf(placement: Placement): Balance {
  const total = placement.loads.reduce((sum, load) => sum + load, 0)
  return {
    maxOverMean: total === 0 ? 1 : placement.maxOverMean,
    shards: placement.shards.map(({ id }, shard) => {
      const load = placement.loads[shard] ?? 0
      return { id, load, share: total === 0 ? 0 : load / total }
    }),
  }
}

function notesOf(input: PlanInput, wanted: Found, found: Found, done: Placement): string[] {
  const notes: string[] = []
  const { measure, unsized } = wanted.set
  if (measure === 'bytes') notes.push('No load was measured: bytes stand in for it.')
  if (measure === 'count') {
    notes.push('Neither load nor size is known: every virtual node counts the same.')
  }
  if (measure !== 'count' && unsized) notes.push('No sizes are known: moves are counted instead.')
  const target = 1 + input.epsilon
  const heaviest = wanted.placement.atoms.reduce((high, { load }) => Math.max(high, load), 0)
  const bound = wanted.placement.bounds.reduce((high, one) => Math.max(high, one), 0)
  if (heaviest > bound + wanted.placement.grain) {
    const share = (heaviest / (bound / target)).toFixed(2)
    notes.push(`One key or virtual node alone has ${share} of a shard's mean load.`)
  } else if (wanted.placement.overloaded.length > 0) {
    notes.push(`No moves were found that bring every shard under ${target.toFixed(2)}.`)
  }
  if (found !== wanted) {
    const needed = Math.round(wanted.placement.bytesMoved)
    notes.push(
      `The budget of ${input.bytesMax} bytes ends it at ${done.maxOverMean.toFixed(2)};` +
        ` the target takes ${needed} bytes.`,
    )
  }
  return notes
}
