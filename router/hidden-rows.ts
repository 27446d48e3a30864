// Statements for shards that hold rows they do not own, while virtual nodes are on the move (docs/moving-vnodes.md): every
// reference to a sharded table is given the condition that leaves those rows out. Only what goes to several shards needs
// it: a statement tied to a key comes to the key's owner, and no other row decides its answer.
import { LRUCache } from 'lru-cache'
import { type PgError, pgError } from '../core/errors.ts'
import { hidesNothing, mergedSets, visibleSql } from './hidden-predicate.ts'
import { type SplicedSql, spliceConditions } from './hidden-splice.ts'
import { shardedReferences, type TableReference } from './hidden-tables.ts'
import type { MovedSet } from './moved-set.ts'
import { Names, namesOf } from './names.ts'
import { parseSql } from './parser.ts'
import type { RouterContext } from './router.ts'
import type { Schema } from './schema.ts'

const entriesMax = 256
const charactersMax = 4_000_000

type Entry = {
  readonly schema: Schema
  readonly searchPath: readonly string[]
  readonly visible: SplicedSql
}

/** What is kept for one list of sets. */
type Kept = {
  readonly sets: readonly MovedSet[]
  /** Conditions by the column that they are about. */
  readonly conditions: LRUCache<string, string>
  readonly texts: LRUCache<string, Entry>
}

/** Rewrites statements, and keeps the last ones of every topology that is still in use. */
export class HiddenRows {
  readonly #kept = new WeakMap<readonly MovedSet[], Kept>()

  /**
   * `sql`, one SELECT, so that it does not see rows of `hidden`, the sets that a shard holds without owning them.
   * @throws PgError 55006 when it is written in a way that cannot be followed
   */
  withoutHidden(sql: string, context: RouterContext, hidden: readonly MovedSet[]): SplicedSql {
    const { schema, rules, searchPath } = context
    if (schema === null || rules === null || hidesNothing(hidden)) return unchanged(sql)
    const kept = this.#keptOf(hidden)
    const known = kept.texts.get(sql)
    if (known?.schema === schema && known.searchPath === searchPath) return known.visible
    const visible = rewritten(sql, new Names(schema, rules, searchPath), kept)
    kept.texts.set(sql, { schema, searchPath, visible })
    return visible
  }

  #keptOf(hidden: readonly MovedSet[]): Kept {
    const known = this.#kept.get(hidden)
    if (known !== undefined) return known
    const kept: Kept = {
      sets: mergedSets(hidden),
      conditions: new LRUCache({
        max: entriesMax,
        maxSize: charactersMax,
        sizeCalculation: (condition) => condition.length,
      }),
      texts: new LRUCache({
        max: entriesMax,
        maxSize: charactersMax,
        sizeCalculation: ({ visible }, sql) => sql.length + visible.sql.length,
      }),
    }
    this.#kept.set(hidden, kept)
    return kept
  }
}

function unchanged(sql: string): SplicedSql {
  return { sql, originalPosition: (position) => position }
}

function rewritten(sql: string, names: Names, kept: Kept): SplicedSql {
  const [statement, ...more] = parseSql(sql)
  if (statement === undefined || more.length > 0) throw refused('several statements')
  const references = shardedReferences(statement.node, names)
  if ('construct' in references) throw refused(references.construct)
  const conditions = references.map((reference) => ({
    range: reference.range,
    sql: conditionOn(keyColumn(reference), names, kept),
  }))
  const spliced = spliceConditions(sql, statement.node, conditions)
  if (spliced === undefined) throw refused('this way of writing a table')
  return spliced
}

function conditionOn(column: string, { rules }: Names, { sets, conditions }: Kept): string {
  const known = conditions.get(column)
  if (known !== undefined) return known
  const condition = visibleSql(sets, column, rules.keyType)
  conditions.set(column, condition)
  return condition
}

/** The key as the reference names it: an alias may rename both table and columns. */
function keyColumn({ range: { alias }, relation }: TableReference): string {
  const renamed = namesOf(alias?.colnames)
  const columns = relation.columns.map(({ name }, at) => renamed[at] ?? name)
  const column = columns[relation.columns.findIndex(({ name }) => name === relation.key)] ?? ''
  if (columns.filter((name) => name === column).length !== 1) {
    throw refused('a shard key column that shares its name with another')
  }
  return `${quoted(alias?.aliasname ?? relation.name)}.${quoted(column)}`
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

function refused(construct: string): PgError {
  return pgError('hiddenRowsRefused', [construct])
}
