// Which relations only a primary can read, and what reading one runs: the part of the schema that decides whether
// a statement may go to a replica. Reasons and functions come up from what a view reads, from partitions and children.
import type { Relation } from '../router/schema.ts'

/** What the system catalogs say of one relation. */
export type ReadRelation = {
  readonly schema: string
  readonly name: string
  /** pg_class.relkind. */
  readonly kind: string
  /** pg_class.relpersistence. */
  readonly persistence: string
  /** Oids of partitioned tables or of tables that it inherits from. */
  readonly parents: readonly string[]
  /** Functions that its own query or its policies run. */
  readonly functions: readonly string[]
  /** Oids of what its own query or its policies read. */
  readonly uses: readonly string[]
  readonly locks: boolean
}

export type ReplicaTraits = Pick<Relation, 'primaryOnly' | 'calls'>

/** A view of views of views … is read no deeper than this; PostgreSQL's own limit is its stack. */
const depthMax = 100

/** Traits of every relation, by oid. */
export function replicaTraits(
  relations: ReadonlyMap<string, ReadRelation>,
): ReadonlyMap<string, ReplicaTraits> {
  const children = childrenOf(relations)
  const known = new Map<string, Found>()
  const find = (oid: string, depth: number): Found => {
    const before = known.get(oid)
    if (before !== undefined) return before
    const relation = relations.get(oid)
    // What is not loaded is the system's, or somebody's temporary table.
    if (relation === undefined || depth > depthMax) return unknownRelation
    // A policy may read a view of its own table: what that table says itself is known by then.
    known.set(oid, together(relation, []))
    const below = [...relation.uses.filter((use) => use !== oid), ...(children.get(oid) ?? [])]
    const found = together(
      relation,
      below.map((other) => find(other, depth + 1)),
    )
    known.set(oid, found)
    return found
  }
  const traits = new Map<string, ReplicaTraits>()
  for (const oid of relations.keys()) {
    const { reason, calls } = find(oid, 0)
    traits.set(oid, {
      ...(reason === null ? {} : { primaryOnly: reason }),
      ...(calls.size === 0 ? {} : { calls: [...calls] }),
    })
  }
  return traits
}

type Found = { readonly reason: string | null; readonly calls: ReadonlySet<string> }

const unknownRelation: Found = { reason: 'a system catalog', calls: new Set() }

function together(relation: ReadRelation, below: readonly Found[]): Found {
  const calls = new Set([...relation.functions, ...below.flatMap((found) => [...found.calls])])
  const inside = below.find(({ reason }) => reason !== null)?.reason ?? null
  const own = ownReason(relation)
  if (own !== null || inside === null) return { reason: own, calls }
  const named = relation.kind === 'v' ? `${inside}, in the view "${relation.name}"` : inside
  return { reason: named, calls }
}

function ownReason({ schema, name, kind, persistence, locks }: ReadRelation): string | null {
  if (schema === 'pg_catalog' || schema === 'information_schema' || schema === 'ringfence') {
    return 'a system catalog'
  }
  if (locks) return `row locks, in the view "${name}"`
  if (persistence === 'u') return `the unlogged table "${name}"`
  if (kind === 'f') return `the foreign table "${name}"`
  // Replicas run ahead: a sequence is logged for 32 values at once.
  return kind === 'S' ? `the sequence "${name}"` : null
}

function childrenOf(
  relations: ReadonlyMap<string, ReadRelation>,
): ReadonlyMap<string, readonly string[]> {
  const children = new Map<string, string[]>()
  for (const [oid, { parents }] of relations) {
    for (const parent of parents) {
      const known = children.get(parent)
      if (known === undefined) children.set(parent, [oid])
      else known.push(oid)
    }
  }
  return children
}
