// Which table references of a statement are tied to which shard key values: a graph whose nodes are
// columns that carry the key. "Known" means: the statement's answer stays the same when only rows
// with the given key value (or values) are left in that table, and wherever the column is visible
// it holds that value or NULL. One step adds one fact that follows from those before (`T.k = A.k`
// filters T, A is known → T is known), so the answer on a shard that holds all rows of those values
// is the answer of one PostgreSQL holding all rows.

/** Number of a node in its graph. */
export type NodeId = number

type Derived = {
  /**
   * The columns that it is made of, one per arm of a set operation; null: not a column that carries
   * the key.
   */
  readonly arms: readonly (NodeId | null)[]
  /** A filter on the derived column may as well be applied to the columns it is made of. */
  readonly pushable: boolean
}

/** Collects what a statement says about key columns; then answers what follows from one source. */
export class TieGraph {
  #size = 0
  readonly #sources = new Set<NodeId>()
  readonly #derived = new Map<NodeId, Derived>()
  /** from → the nodes that a filter of the statement makes equal to it. */
  readonly #edges = new Map<NodeId, NodeId[]>()
  /** A recursive CTE's column as its own arm sees it: known while every arm agrees. */
  readonly #assumed = new Map<NodeId, { readonly first: NodeId; rest: NodeId | null }>()

  /** A key column of a table reference. */
  add(): NodeId {
    this.#size += 1
    return this.#size
  }

  /** Values that the statement or its parameters give. */
  addSource(): NodeId {
    const node = this.add()
    this.#sources.add(node)
    return node
  }

  /** A column of a subquery, CTE or set operation. */
  addDerived(arms: readonly (NodeId | null)[], pushable: boolean): NodeId {
    const node = this.add()
    this.#derived.set(node, { arms, pushable })
    return node
  }

  /** A recursive reference; `closeAssumed` names what the recursive arm gives. */
  addAssumed(first: NodeId): NodeId {
    const node = this.add()
    this.#assumed.set(node, { first, rest: null })
    return node
  }

  closeAssumed(node: NodeId, rest: NodeId | null): void {
    const assumed = this.#assumed.get(node)
    if (assumed !== undefined) assumed.rest = rest
  }

  /** A filter lets pass only rows where `to` equals `from`. */
  tie(from: NodeId, to: NodeId): void {
    const known = this.#edges.get(from)
    if (known === undefined) this.#edges.set(from, [to])
    else known.push(to)
  }

  /** All nodes that are known when `seed` is. */
  knownFrom(seed: NodeId): ReadonlySet<NodeId> {
    const assumptions = new Set(this.#assumed.keys())
    for (;;) {
      const known = this.#closure(seed, assumptions)
      const broken = [...assumptions].filter((node) => known.has(node) && !this.#holds(node, known))
      if (broken.length === 0) return known
      for (const node of broken) assumptions.delete(node)
    }
  }

  #holds(node: NodeId, known: ReadonlySet<NodeId>): boolean {
    const rest = this.#assumed.get(node)?.rest ?? null
    return rest !== null && known.has(rest)
  }

  #closure(seed: NodeId, assumptions: ReadonlySet<NodeId>): Set<NodeId> {
    const known = new Set<NodeId>()
    const queue = [seed]
    for (;;) {
      for (let node = queue.pop(); node !== undefined; node = queue.pop()) {
        if (known.has(node)) continue
        known.add(node)
        queue.push(...(this.#edges.get(node) ?? []))
        const derived = this.#derived.get(node)
        if (derived?.pushable !== true) continue
        // A filter on a constant column says nothing of where else that constant is used.
        for (const arm of derived.arms) if (arm !== null && !this.#sources.has(arm)) queue.push(arm)
      }
      for (const [node, { arms }] of this.#derived) {
        if (!known.has(node) && arms.every((arm) => arm !== null && known.has(arm)))
          queue.push(node)
      }
      for (const node of assumptions) {
        const assumed = this.#assumed.get(node)
        if (!known.has(node) && assumed !== undefined && known.has(assumed.first)) queue.push(node)
      }
      if (queue.length === 0) return known
    }
  }
}
