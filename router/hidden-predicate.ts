// What is true for a row that a shard holds without owning it, as SQL over the row's key. Sets that name whole virtual
// nodes become one.
import { type MovedSet, movedSetSql } from './moved-set.ts'
import type { KeyType } from './schema.ts'

/** True when no row can belong to any of `sets`. */
export function hidesNothing(sets: readonly MovedSet[]): boolean {
  return sets.every(({ vnodes, keys }) => vnodes.length === 0 && keys.length === 0)
}

/** The same sets, in as few lists as can be. Exceptions belong to the virtual nodes of their own set only. */
export function mergedSets(sets: readonly MovedSet[]): readonly MovedSet[] {
  const whole = sets.filter(({ except }) => except.length === 0)
  const vnodes = [...new Set(whole.flatMap((set) => set.vnodes))]
  const keys = [...new Set(sets.flatMap((set) => set.keys))]
  const pierced = sets.filter(({ except }) => except.length > 0)
  return [{ vnodes, keys, except: [] }, ...pierced.map((set) => ({ ...set, keys: [] }))].filter(
    (set) => !hidesNothing([set]),
  )
}

/**
 * SQL that is true for visible rows and false for those of `sets`, never NULL: a row without a key belongs to nobody and
 * stays visible. A CASE, since the planner takes one for half of all rows: `<> ALL` over a thousand keys it
 * takes for a handful, and joins by nested loops.
 */
export function visibleSql(sets: readonly MovedSet[], column: string, keyType: KeyType): string {
  const hidden = sets.map((set) => movedSetSql(set, column, keyType))
  return `CASE WHEN ${hidden.join(' OR ')} THEN false ELSE true END`
}
