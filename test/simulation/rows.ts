// The rows that exist in principle: every key has one in each of two tables. A value is a list that grows, or no row.
import type { Vnode } from '../../core/ids.ts'
import { type KeyValue, vnodeOfKey } from '../../router/key-hash.ts'

export const vnodeBits = 3
export const tables = ['lists', 'visits'] as const
export type Table = (typeof tables)[number]

export type Row = {
  readonly name: string
  readonly table: Table
  readonly key: KeyValue
  readonly vnode: Vnode
}

/** Null: there is no such row. Two values are the same if they are the same object. */
export type Value = readonly number[] | null

/** Both rows of the keys 1 to `count`. */
export function createRows(count: number): readonly Row[] {
  return Array.from({ length: count }, (_, index): KeyValue => {
    return { kind: 'bigint', value: BigInt(index + 1) }
  }).flatMap((key, index) => {
    const vnode = vnodeOfKey(key, vnodeBits)
    return tables.map((table): Row => ({ name: `${table}/${index + 1}`, table, key, vnode }))
  })
}
