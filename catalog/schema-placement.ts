// Where a relation's rows live, from its name, its columns and the configuration (docs/architecture.md,
// "Placement of tables"). Partitions and children are where their topmost parent is; views are where all that
// they read is.
import type { Column, Placement, ShardingRules } from '../router/schema.ts'

/** A relation as the system catalogs describe it. */
export type FoundRelation = {
  readonly oid: string
  readonly schema: string
  readonly name: string
  readonly kind: string
  readonly parent: string | null
  /** Oids of the relations that a view reads. */
  readonly reads: readonly string[]
  readonly columns: readonly Column[]
  /** In order; empty without a primary key. */
  readonly primaryKey: readonly string[]
}

export type Placed = { readonly placement: Placement; readonly key: string | null }

const systemSchemas = new Set(['pg_catalog', 'information_schema', 'ringfence'])

/** Placement of every relation, by oid. Without rules everything of the user's is on the home shard. */
export function placeRelations(
  relations: ReadonlyMap<string, FoundRelation>,
  rules: ShardingRules | null,
): ReadonlyMap<string, Placed> {
  const placed = new Map<string, Placed>()
  const place = (oid: string): Placed => {
    const known = placed.get(oid)
    if (known !== undefined) return known
    // Views that read each other in a circle settle on the cautious answer.
    placed.set(oid, { placement: 'mixed', key: null })
    const answer = placeOne(oid)
    placed.set(oid, answer)
    return answer
  }
  const placeOne = (oid: string): Placed => {
    const relation = relations.get(oid)
    // Relations that are not loaded belong to the system, such as TOAST tables.
    if (relation === undefined || systemSchemas.has(relation.schema)) return on('catalog')
    if (rules === null) return on('home')
    if (relation.kind === 'v' || relation.kind === 'm') {
      return on(placeView(relation.reads.map((read) => place(read).placement)))
    }
    if (relation.kind !== 'r' && relation.kind !== 'p') return on('home')
    return relation.parent === null ? placeTable(relation, rules) : place(relation.parent)
  }
  for (const oid of relations.keys()) place(oid)
  return placed
}

function placeTable({ schema, name, columns }: FoundRelation, rules: ShardingRules): Placed {
  const rule = rules.tables.get(`${schema}.${name}`) ?? rules.tables.get(name)
  // A configured key that is no column is still a key: rows must not be taken for home's.
  if (rule !== undefined) return 'key' in rule ? sharded(rule.key) : on(rule.placement)
  return columns.some((column) => column.name === rules.key) ? sharded(rules.key) : on('home')
}

function placeView(reads: readonly Placement[]): Placement {
  if (reads.every((placement) => placement === 'home' || placement === 'catalog')) return 'home'
  return reads.every((placement) => placement === 'reference') ? 'reference' : 'mixed'
}

function on(placement: Placement): Placed {
  return { placement, key: null }
}

function sharded(key: string): Placed {
  return { placement: 'sharded', key }
}
