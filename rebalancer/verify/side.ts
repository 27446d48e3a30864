// One of the two servers that are compared: connections that all see one exported snapshot, and the
// questions they are asked, part by part of a table.
import type { Client } from 'pg'
import { openReader } from '../copy/connection.ts'
import { type PageRange, readRanges, type RowsOf } from '../copy/page-ranges.ts'
import { inParallel } from '../copy/parallel.ts'
import type { Throttle } from '../throttle.ts'
import { addSum, type Sums } from './compare.ts'
import { type Buckets, bucketsSql, columnsSql, rowsSql } from './row-hash.ts'

export type SideOptions = {
  readonly url: string
  readonly snapshot: string
  readonly workers: number
  readonly throttle: Throttle
  readonly signal: AbortSignal
}

/** Hashes of a row, by its primary key as JSON of texts. */
export type Rows = Map<string, { readonly first: string; readonly second: string }>

/** Largest part of a table that one statement reads: bounds how often a bucket is reported. */
const partsMax = 256
/** The same where a bound on bytes per second wants small parts. */
const gentlePartsMax = 65_536
const rangeBytesMin = 32 * 1024 * 1024

export class Side {
  readonly #options: SideOptions

  constructor(options: SideOptions) {
    this.#options = options
  }

  /** Parts of the table as it is on this server. */
  async ranges(rows: RowsOf): Promise<readonly PageRange[]> {
    const { url, snapshot, throttle, signal } = this.#options
    await using connection = await openReader(url, snapshot, signal)
    const whole = await readRanges(connection.client, rows, Number.POSITIVE_INFINITY)
    const bytes = whole.reduce((sum, range) => sum + range.bytes, 0)
    const wanted = Math.max(rangeBytesMin, bytes / partsMax)
    const gentle = Math.max(throttle.pieceBytesMax, bytes / gentlePartsMax)
    return await readRanges(connection.client, rows, Math.min(wanted, gentle))
  }

  /** Sums of every bucket of the first `bits` bits; `done` is told the rows of each part. */
  async sums(
    rows: RowsOf,
    parts: readonly PageRange[],
    asked: { readonly bits: number; readonly within: Buckets; done: (rows: number) => void },
  ): Promise<Sums> {
    const sums: Sums = new Map()
    await this.#each(parts, async (client, range) => {
      const answer = await client.query<SumRow>(bucketsSql(range, rows, asked))
      let count = 0
      for (const row of answer.rows) {
        const sum = { rows: Number(row.rows), bytes: Number(row.bytes) }
        count += sum.rows
        const { bucket, first, second } = row
        addSum(sums, bucket, { ...sum, first: BigInt(first), second: BigInt(second) })
      }
      asked.done(count)
    })
    return sums
  }

  /** Every row of some buckets. */
  async rows(rows: RowsOf, parts: readonly PageRange[], within: Buckets): Promise<Rows> {
    const found: Rows = new Map()
    await this.#each(parts, async (client, range) => {
      const answer = await client.query<HashedRow>(rowsSql(range, rows, within))
      for (const { key, first, second } of answer.rows) {
        found.set(JSON.stringify(key), { first, second })
      }
    })
    return found
  }

  /** Hashes of the columns of each of these rows, in the order of both. */
  async columns(rows: RowsOf, keys: readonly string[]): Promise<readonly (readonly string[])[]> {
    const { url, snapshot, signal } = this.#options
    await using connection = await openReader(url, snapshot, signal)
    const hashes: (readonly string[])[] = []
    for (const key of keys) {
      const values: unknown = JSON.parse(key)
      const answer = await connection.client.query<{ hashes: readonly string[] }>(
        columnsSql(rows.table),
        Array.isArray(values) ? values : [],
      )
      hashes.push(answer.rows[0]?.hashes ?? [])
    }
    return hashes
  }

  async #each(
    parts: readonly PageRange[],
    ask: (client: Client, range: PageRange) => Promise<void>,
  ): Promise<void> {
    const { url, snapshot, throttle } = this.#options
    await inParallel(parts, this.#options, async (tasks, signal) => {
      await using connection = await openReader(url, snapshot, signal)
      // 4,096 sums would not fit in the default of 4 MB.
      await connection.client.query(`SET work_mem = '64MB'`)
      for (const range of tasks) {
        await throttle.pass(range.bytes, signal)
        await ask(connection.client, range)
      }
    })
  }
}

type SumRow = {
  readonly bucket: string
  readonly rows: string
  readonly first: string
  readonly second: string
  readonly bytes: string
}

type HashedRow = {
  readonly key: readonly string[]
  readonly first: string
  readonly second: string
}
