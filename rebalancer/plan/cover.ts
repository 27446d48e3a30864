// Which atoms a shard gives up to lose a certain load at the least cost: the knapsack problem the other way round.
// Densest first (load per byte) is optimal but for the last one, which may bring far more than is needed; so after
// each prefix the cheapest atom that closes the gap alone is tried, and from the best of these branch and bound
// goes on: the heaviest in or out, then the others depth first, the densest first, bounded by what the rest would
// cost if atoms could be cut.
import type { Atom } from './atoms.ts'
import { CheapestFirst } from './cheapest-first.ts'

/** What an atom brings and what it costs to let it go. */
export type Offer = { readonly index: number; readonly load: number; readonly cost: number }

/** Most load per cost first, then the heavier, then the index. */
export function byDensity(a: Offer, b: Offer): number {
  // A product instead of a quotient: what costs nothing comes first, what has no load last.
  return b.load * a.cost - a.load * b.cost || b.load - a.load || a.index - b.index
}

/** Offers of these atoms at their own cost, densest first. */
export function offersOf(atoms: readonly Atom[], indexes: readonly number[]): readonly Offer[] {
  return indexes
    .map((index) => ({ index, load: atoms[index]?.load ?? 0, cost: atoms[index]?.cost ?? 0 }))
    .sort(byDensity)
}

export type Cover = {
  readonly chosen: readonly Offer[]
  /** Infinite where all offers together do not suffice. */
  readonly cost: number
  /** No choice at all costs less. */
  readonly costMin: number
}

/** Branches that are looked into; most shards need a few dozen. */
const branchesMax = 20_000
/** A branch that could save less than this part is not looked into. */
const savingMin = 0.01
/** Atoms that are decided on first, and the part of the need that they bring at least. */
const heavyMax = 16
const heavyPart = 0.2

/** Offers that together bring `need` or more at the least cost, to about a hundredth; all where they do not suffice. */
export function cheapestCover(densest: readonly Offer[], need: number): Cover {
  if (need <= 0) return { chosen: [], cost: 0, costMin: 0 }
  const cut = new CostCurve(densest).at(need)
  if (cut === Number.POSITIVE_INFINITY) return { chosen: densest, cost: cut, costMin: cut }
  return new CoverSearch(densest, need).run()
}

class CoverSearch {
  readonly #need: number
  readonly #heavy: readonly Offer[]
  readonly #light: readonly Offer[]
  /** Of what is undecided once so many of the heavy ones are decided. */
  readonly #curves: readonly CostCurve[]
  #best: readonly Offer[]
  #bestCost: number
  #costMin = Number.POSITIVE_INFINITY
  #branches = 0

  constructor(densest: readonly Offer[], need: number) {
    this.#need = need
    this.#best = prefixAndCloser(densest, need)
    this.#bestCost = this.#best.reduce((sum, { cost }) => sum + cost, 0)
    const heavy = densest
      .filter(({ load }) => load >= heavyPart * need)
      .sort((a, b) => b.load - a.load || a.index - b.index)
      .slice(0, heavyMax)
    this.#heavy = heavy
    this.#curves = [...heavy, undefined].map((_, decided) => {
      const out = new Set(heavy.slice(0, decided))
      return new CostCurve(densest.filter((offer) => !out.has(offer)))
    })
    this.#light = densest.filter((offer) => !heavy.includes(offer))
  }

  run(): Cover {
    this.#decide([], 0, this.#need)
    const costMin = Math.min(this.#costMin, this.#bestCost)
    return { chosen: this.#best, cost: this.#bestCost, costMin }
  }

  /**
   * True when the branch can be left: nothing in it is much cheaper than the best, or there have been too many. Whatever
   * is left counts with what it costs at least, so that `costMin` stays true.
   */
  #isBounded(least: number): boolean {
    this.#branches += 1
    if (least < this.#bestCost * (1 - savingMin) && this.#branches <= branchesMax) return false
    this.#costMin = Math.min(this.#costMin, least)
    return true
  }

  #keep(chosen: readonly Offer[], cost: number): void {
    if (cost >= this.#bestCost) return
    this.#best = chosen
    this.#bestCost = cost
  }

  /** The heavy ones from `decided` on, each in or out. */
  #decide(taken: readonly Offer[], decided: number, missing: number): void {
    const spent = taken.reduce((sum, { cost }) => sum + cost, 0)
    if (this.#isBounded(spent + (this.#curves[decided]?.at(missing) ?? 0))) return
    if (missing <= 0) return this.#keep(taken, spent)
    const next = this.#heavy[decided]
    if (next === undefined) return this.#descend(taken, spent, missing)
    this.#decide([...taken, next], decided + 1, missing - next.load)
    this.#decide(taken, decided + 1, missing)
  }

  /** All others, depth first along their density. */
  #descend(heavy: readonly Offer[], spentBefore: number, need: number): void {
    const curve = this.#curves.at(-1)
    const taken: number[] = []
    let spent = spentBefore
    let missing = need
    let next = 0
    for (;;) {
      const offer = this.#light[next]
      const least = spent + (curve?.at(missing, next) ?? 0)
      if (!this.#isBounded(least) && missing > 0 && offer !== undefined) {
        taken.push(next)
        spent += offer.cost
        missing -= offer.load
        next += 1
        continue
      }
      if (missing <= 0) {
        this.#keep([...heavy, ...taken.flatMap((at) => this.#light[at] ?? [])], spent)
      }
      const last = taken.pop()
      if (last === undefined) return
      spent -= this.#light[last]?.cost ?? 0
      missing += this.#light[last]?.load ?? 0
      next = last + 1
    }
  }
}

/** The best of: so many of the densest, and the cheapest of the others that closes the gap alone. */
function prefixAndCloser(densest: readonly Offer[], need: number): readonly Offer[] {
  const ranks = new Map(densest.map(({ index }, rank) => [index, rank]))
  const heaviest = [...densest].sort((a, b) => b.load - a.load || a.index - b.index)
  const closers = new CheapestFirst()
  let pushed = 0
  let missing = need
  let spent = 0
  let best: { cost: number; prefix: number; closer: Offer } | undefined
  for (const [prefix, next] of densest.entries()) {
    for (; pushed < heaviest.length; pushed += 1) {
      const candidate = heaviest[pushed]
      if (candidate === undefined || candidate.load < missing) break
      closers.push(candidate)
    }
    const closer = closers.first(({ index }) => (ranks.get(index) ?? -1) >= prefix)
    if (closer !== undefined && (best === undefined || spent + closer.cost < best.cost)) {
      best = { cost: spent + closer.cost, prefix, closer }
    }
    missing -= next.load
    spent += next.cost
    if (missing <= 0 || (best !== undefined && spent >= best.cost)) break
  }
  return best === undefined ? densest : [...densest.slice(0, best.prefix), best.closer]
}

/** Cost of losing load if offers could be cut, as a convex function of the load: no choice of whole ones is cheaper. */
export class CostCurve {
  readonly #loads: Float64Array
  readonly #costs: Float64Array

  constructor(densest: readonly Offer[]) {
    this.#loads = new Float64Array(densest.length + 1)
    this.#costs = new Float64Array(densest.length + 1)
    for (const [at, { load, cost }] of densest.entries()) {
      this.#loads[at + 1] = (this.#loads[at] ?? 0) + load
      this.#costs[at + 1] = (this.#costs[at] ?? 0) + cost
    }
  }

  /** 0 for a need of 0 or less; infinite where all offers from `first` on do not suffice. */
  at(need: number, first = 0): number {
    if (need <= 0) return 0
    const loads = this.#loads
    const end = need + (loads[first] ?? 0)
    let low = first
    let high = loads.length - 1
    if ((loads[high] ?? 0) < end) return Number.POSITIVE_INFINITY
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if ((loads[middle] ?? 0) < end) low = middle
      else high = middle
    }
    const [from = 0, to = 0] = [loads[low], loads[high]]
    const [spent = 0, then = 0] = [this.#costs[low], this.#costs[high]]
    const part = to > from ? (end - from) / (to - from) : 0
    return spent + (then - spent) * part - (this.#costs[first] ?? 0)
  }
}
