// One of the two servers that are compared: connections that all see one exported snapshot, and the
// questions they are asked, part by part of a table.
import type { QueryResultRow } from 'pg'
import { openReader } from '../copy/connection.ts'
import { eachPiece } from '../copy/each-piece.ts'
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

/** Parts of a table that are told of one by one. */
const partsMax = 256
const rangeBytesMin = 32 * 1024 * 1024

export class Side {
  readonly #options: SideOptions

  constructor(options: SideOptions) {
    this.#options = options
  }

  /** Parts of the table as it is on this server. */
  async ranges(rows: RowsOf): Promise<readonly PageRange[]> {
    const { url, snapshot, signal } = this.#options
    await using connection = await openReader(url, snapshot, signal)
    const whole = await readRanges(connection.client, rows, Number.POSITIVE_INFINITY)
    const bytes = whole.reduce((sum, range) => sum + range.bytes, 0)
    return await readRanges(connection.client, rows, Math.max(rangeBytesMin, bytes / partsMax))
  }

  /** Statements that it takes to read `parts`. */
  statementsFor(parts: readonly PageRange[]): number {
    const pieceBytes = this.#options.throttle.pieceBytesMax
    return parts.reduce((sum, { bytes }) => sum + Math.max(1, Math.ceil(bytes / pieceBytes)), 0)
  }

  /** Sums of every bucket of the first `bits` bits; `done` is told the rows of each part. */
  async sums(
    rows: RowsOf,
    parts: readonly PageRange[],
    asked: { readonly bits: number; readonly within: Buckets; done: (rows: number) => void },
  ): Promise<Sums> {
    const sums: Sums = new Map()
    let count = 0
    const sql = (from: string) => bucketsSql(from, rows.table, asked)
    const take = ({ bucket, first, second, ...row }: SumRow) => {
      const sum = { rows: Number(row.rows), bytes: Number(row.bytes) }
      count += sum.rows
      addSum(sums, bucket, { ...sum, first: BigInt(first), second: BigInt(second) })
    }
    const done = () => {
      asked.done(count)
      count = 0
    }
    await this.#each(rows, parts, { sql, take, done })
    return sums
  }

  /** Every row of some buckets. */
  async rows(rows: RowsOf, parts: readonly PageRange[], within: Buckets): Promise<Rows> {
    const found: Rows = new Map()
    const sql = (from: string) => rowsSql(from, rows.table, within)
    const take = ({ key, first, second }: HashedRow) => {
      found.set(JSON.stringify(key), { first, second })
    }
    await this.#each(rows, parts, { sql, take, done: () => undefined })
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

  /** `done` hears of each part; its pieces are as small as the throttle wants them. */
  async #each<Row extends QueryResultRow>(
    rows: RowsOf,
    parts: readonly PageRange[],
    { sql, take, done }: Asked<Row>,
  ): Promise<void> {
    const { url, snapshot, throttle } = this.#options
    await inParallel(parts, this.#options, async (tasks, signal) => {
      await using connection = await openReader(url, snapshot, signal)
      const { client } = connection
      // 4,096 sums would not fit in the default of 4 MB.
      await client.query(`SET work_mem = '64MB'`)
      for (const range of tasks) {
        const pieces = { range, pieceBytes: throttle.pieceBytesMax, rows, sql }
        await eachPiece(client, pieces, async (statement, piece) => {
          using _turn = await throttle.turn(signal)
          await throttle.pass(piece.bytes, signal)
          for (const row of (await client.query<Row>(statement)).rows) take(row)
        })
        done()
      }
    })
  }
}

/** A question in SQL of what FROM gives, and who takes each row of the answers. */
type Asked<Row> = {
  readonly sql: (from: string) => string
  readonly take: (row: Row) => void
  readonly done: () => void
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
