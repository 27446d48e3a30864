// Compares what a move has copied, row for row, over a pair of snapshots that are to show the same
// rows of the set. Each server sums up its rows by buckets of the hashed primary key; buckets that
// differ are looked at more closely, down to the rows themselves. Table by table: those that are
// finished need not be looked at again after a restart.
import { assert } from '../../core/assert.ts'
import type { MovedSet } from '../../router/moved-set.ts'
import type { RowsOf } from '../copy/page-ranges.ts'
import { type MovedTable, tableName } from '../tables.ts'
import type { Throttle } from '../throttle.ts'
import {
  type DifferingBucket,
  differingBuckets,
  firstBuckets,
  rowsAtLeast,
  type Sums,
} from './compare.ts'
import { bucketBits, type Buckets, firstBits } from './row-hash.ts'
import { type Rows, Side } from './side.ts'

export type VerifyOptions = {
  readonly sourceUrl: string
  readonly sourceSnapshot: string
  readonly targetUrl: string
  readonly targetSnapshot: string
  /** The source's. */
  readonly tables: readonly MovedTable[]
  readonly set: MovedSet
  readonly rules: RowsOf['rules']
  /** On each server. */
  readonly workers: number
  readonly throttle: Throttle
  /** Of the table so far: parts read on both servers, and rows of the source. */
  readonly onProgress: (done: VerifyProgress) => void
  /** Tables (`schema.name`) that need no look. */
  readonly done?: ReadonlySet<string>
  /** Most rows that are fetched of each server to name those that differ; 100,000 unless given. */
  readonly fetchedRowsMax?: number
  readonly signal: AbortSignal
}

export type VerifyProgress = {
  readonly table: string
  readonly ranges: number
  readonly rangesTotal: number
  readonly rows: number
  /** True once, when the table was compared and is the same. */
  readonly same: boolean
}

/** A row that is not the same on both servers. */
type Difference = {
  /** `schema.name` */
  readonly table: string
  /** Values of the primary key's columns, as text. */
  readonly key: Readonly<Record<string, string>>
  readonly kind: 'missing on target' | 'not on source' | 'differs'
  /** Those that differ. */
  readonly columns?: readonly string[]
}

export type Verified = {
  /** Of the source. */
  readonly rows: number
  /** Of their text. */
  readonly bytes: number
  /** The first of them. */
  readonly differences: readonly Difference[]
  /** Rows that differ: exact up to the number that is listed, else at least so many. */
  readonly differing: number
}

const listedMax = 100
const fetchedRowsMax = 100_000
/** Buckets that are looked at more closely in one go, when each is too large to fetch. */
const closerBucketsMax = 256

/** @throws the signal's reason, else what pg throws. */
export async function verify(options: VerifyOptions): Promise<Verified> {
  const { tables, set, rules, done } = options
  const found = { rows: 0, bytes: 0, differing: 0 }
  const differences: Difference[] = []
  for (const table of tables) {
    if (done?.has(tableName(table)) === true) continue
    const room = listedMax - differences.length
    const compared = await compareTable(options, { table, set, rules }, room)
    found.rows += compared.rows
    found.bytes += compared.bytes
    found.differing += compared.differing
    differences.push(...compared.differences)
  }
  return { ...found, differences }
}

type Pair = {
  readonly rows: RowsOf
  readonly fetchedRowsMax: number
  readonly source: Side
  readonly target: Side
  readonly parts: readonly [
    Awaited<ReturnType<Side['ranges']>>,
    Awaited<ReturnType<Side['ranges']>>,
  ]
  /** Of the key's hash, that the first look goes by. */
  readonly bits: number
}

async function compareTable(options: VerifyOptions, rows: RowsOf, room: number): Promise<Verified> {
  const named = tableName(rows.table)
  assert(rows.table.primaryKey.length > 0, `table ${named} has a primary key`)
  const pair = await openPair(options, rows)
  const progress = { ranges: 0, rows: 0 }
  const rangesTotal = pair.parts[0].length + pair.parts[1].length
  const tell = (more: number) => {
    progress.ranges += 1
    progress.rows += more
    options.onProgress({ table: named, rangesTotal, ...progress, same: false })
  }
  const { bits } = pair
  const sums = await sumUp(pair, { bits, within: null, tell })
  const differing = differingBuckets(...sums)
  const total = totals(sums[0])
  if (differing.length === 0) {
    options.onProgress({ table: named, rangesTotal, ...progress, same: true })
    return { ...total, differences: [], differing: 0 }
  }
  if (room === 0) return { ...total, differences: [], differing: rowsAtLeast(differing) }
  return { ...total, ...(await lookCloser(pair, { bits, differing, room })) }
}

async function openPair(options: VerifyOptions, rows: RowsOf): Promise<Pair> {
  const { workers, throttle, signal } = options
  const common = { workers, throttle, signal }
  const source = new Side({ ...common, url: options.sourceUrl, snapshot: options.sourceSnapshot })
  const target = new Side({ ...common, url: options.targetUrl, snapshot: options.targetSnapshot })
  const parts = [await source.ranges(rows), await target.ranges(rows)] as const
  const statements = Math.max(source.statementsFor(parts[0]), target.statementsFor(parts[1]))
  return {
    rows,
    fetchedRowsMax: options.fetchedRowsMax ?? fetchedRowsMax,
    source,
    target,
    parts,
    bits: firstBits(statements),
  }
}

/** Both servers at once. */
async function sumUp(
  { rows, source, target, parts }: Pair,
  asked: { bits: number; within: Buckets; tell: (rows: number) => void },
): Promise<[Sums, Sums]> {
  const { bits, within, tell } = asked
  return await bothOf(
    source.sums(rows, parts[0], { bits, within, done: tell }),
    target.sums(rows, parts[1], { bits, within, done: () => tell(0) }),
  )
}

/**
 * Names rows of differing buckets. Those that are too large to be fetched are divided first; when
 * even so there are too many rows, the first buckets are named and the others counted.
 */
async function lookCloser(
  pair: Pair,
  known: { bits: number; differing: readonly DifferingBucket[]; room: number },
): Promise<Pick<Verified, 'differences' | 'differing'>> {
  const { bits, differing, room } = known
  const fetched = firstBuckets(differing, pair.fetchedRowsMax)
  if (fetched.length > 0) {
    const rest = differing.slice(fetched.length)
    const ids = fetched.map(({ id }) => id)
    const listed = await listRows(pair, { bits, ids }, room)
    return { ...listed, differing: listed.differing + rowsAtLeast(rest) }
  }
  const divided = differing.slice(0, closerBucketsMax)
  const within = { bits, ids: divided.map(({ id }) => id) }
  const closer = bits + bucketBits
  assert(closer < 64, 'rows with different primary keys have different hashes')
  const sums = await sumUp(pair, { bits: closer, within, tell: () => undefined })
  const found = await lookCloser(pair, { bits: closer, differing: differingBuckets(...sums), room })
  const rest = rowsAtLeast(differing.slice(divided.length))
  return { ...found, differing: found.differing + rest }
}

async function listRows(
  pair: Pair,
  within: Buckets,
  room: number,
): Promise<Pick<Verified, 'differences' | 'differing'>> {
  const { rows, source, target, parts } = pair
  const [ofSource, ofTarget] = await bothOf(
    source.rows(rows, parts[0], within),
    target.rows(rows, parts[1], within),
  )
  const keys = differingKeys(ofSource, ofTarget)
  const listed = keys.slice(0, room)
  const changed = listed.filter((key) => ofSource.has(key) && ofTarget.has(key))
  const columns = await bothOf(source.columns(rows, changed), target.columns(rows, changed))
  const differences = listed.map((key): Difference => {
    const row = { table: tableName(rows.table), key: namedKey(rows.table, key) }
    if (!ofTarget.has(key)) return { ...row, kind: 'missing on target' }
    if (!ofSource.has(key)) return { ...row, kind: 'not on source' }
    const at = changed.indexOf(key)
    const names = rows.table.columns.map(({ name }) => name)
    const differ = names.filter((_, place) => columns[0][at]?.[place] !== columns[1][at]?.[place])
    return { ...row, kind: 'differs', columns: differ }
  })
  return { differences, differing: keys.length }
}

/** In order of the key's text, so that two runs list the same. */
function differingKeys(source: Rows, target: Rows): readonly string[] {
  const keys = [...source.keys()].filter((key) => {
    const row = source.get(key)
    const other = target.get(key)
    return row?.first !== other?.first || row?.second !== other?.second
  })
  for (const key of target.keys()) {
    if (!source.has(key)) keys.push(key)
  }
  return keys.sort((one, other) => (one < other ? -1 : 1))
}

function namedKey({ primaryKey }: MovedTable, key: string): Readonly<Record<string, string>> {
  const values: unknown = JSON.parse(key)
  const texts: readonly unknown[] = Array.isArray(values) ? values : []
  return Object.fromEntries(primaryKey.map((name, place) => [name, String(texts[place])]))
}

function totals(sums: Sums): Pick<Verified, 'rows' | 'bytes'> {
  const total = { rows: 0, bytes: 0 }
  for (const { rows, bytes } of sums.values()) {
    total.rows += rows
    total.bytes += bytes
  }
  return total
}

/** Waits for both also when one fails: nothing goes on behind the caller's back. */
async function bothOf<A, B>(one: Promise<A>, other: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([one, other])
  return await Promise.all([one, other])
}
