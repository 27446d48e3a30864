// Copies the rows of a set from one shard to another, out of an exported snapshot: COPY TO into
// COPY FROM, the bytes passed through as they come. Parts of a table are copied by several workers;
// each part is one transaction on the target, of one COPY for each piece that the throttle wants. A run
// that was cut short is begun again: what it left on the target is deleted first.
import { type Client, escapeIdentifier } from 'pg'
import type { MovedTable } from '../tables.ts'
import type { Throttle } from '../throttle.ts'
import { openReader, openWriter } from './connection.ts'
import { deleteRows } from './delete-rows.ts'
import { fromRange, type PageRange, piecesOf, readRanges, type RowsOf } from './page-ranges.ts'
import { inParallel } from './parallel.ts'
import { passCopy } from './pass-copy.ts'
import { claimTarget, joinClaim } from './target-claim.ts'

export type CopyOptions = RowsOf & {
  readonly sourceUrl: string
  readonly targetUrl: string
  /** Name of a snapshot that the source has exported. */
  readonly snapshot: string
  readonly workers: number
  readonly throttle: Throttle
  /** Since the last call: rows and bytes of COPY, of parts that are committed on the target. */
  readonly onProgress: (rows: number, bytes: number) => void
  readonly signal: AbortSignal
}

/** Of a table, about as much as is copied in one transaction. */
const rangeBytes = 32 * 1024 * 1024
const deleteBatchRows = 10_000

/**
 * Leaves the target with exactly the snapshot's rows of the set. Nobody else may write such rows on
 * the target meanwhile. @throws the signal's reason, else what pg throws: the target is then left
 * with a part of the rows.
 */
export async function copyTable(
  options: CopyOptions,
): Promise<{ readonly rows: number; readonly bytes: number }> {
  const { sourceUrl, targetUrl, snapshot, workers } = options
  const copied = { rows: 0, bytes: 0 }
  await using claim = await claimTarget(options)
  const { throttle, table, set, rules } = options
  const signal = AbortSignal.any([options.signal, claim.lost])
  const earlier = { url: targetUrl, table, set, rules, batchRows: deleteBatchRows }
  await deleteRows({ ...earlier, throttle, signal, onProgress: () => undefined })
  await claim.share()
  const ranges = await readAll(options, signal)
  await inParallel(ranges, { workers, signal }, async (tasks, signal) => {
    await using source = await openReader(sourceUrl, snapshot, signal)
    await using target = await openWriter(targetUrl, signal)
    await joinClaim(target.client, options)
    for (const range of tasks) {
      const part = await copyRange({ ...options, signal }, range, [source.client, target.client])
      copied.rows += part.rows
      copied.bytes += part.bytes
      options.onProgress(part.rows, part.bytes)
    }
  })
  return copied
}

async function readAll(options: CopyOptions, signal: AbortSignal): Promise<readonly PageRange[]> {
  await using source = await openReader(options.sourceUrl, options.snapshot, signal)
  return await readRanges(source.client, options, rangeBytes)
}

/**
 * In one transaction. Rows of any size pass through in chunks; a slow target slows the source down. Each piece has a
 * COPY of its own on both sides: PostgreSQL puts the rows of a COPY into tables and indexes by the thousand, in one go.
 */
async function copyRange(
  options: CopyOptions,
  range: PageRange,
  [source, target]: readonly [Client, Client],
): Promise<{ rows: number; bytes: number }> {
  const { table, throttle, signal } = options
  const pieces = [...piecesOf(range, throttle.pieceBytesMax)]
  const columns = table.columns.filter(({ generated }) => !generated)
  const names = columns.map(({ name }) => escapeIdentifier(name)).join(', ')
  const format = columns.every(({ binary }) => binary) ? 'binary' : 'text'
  const into = `${escapeIdentifier(table.schema)}.${escapeIdentifier(table.name)} (${names})`
  const write = `COPY ${into} FROM STDIN (FORMAT ${format})`
  const copied = { rows: 0, bytes: 0 }
  const pass = (bytes: number) => throttle.pass(bytes, signal)
  const copy = async (piece: PageRange) => {
    using _turn = await throttle.turn(signal)
    const rows = `SELECT ${names} ${fromRange(piece, options)}`
    const read = `COPY (${rows}) TO STDOUT (FORMAT ${format})`
    const passed = await passCopy(source, target, { read, write, pass })
    copied.rows += passed.rows
    copied.bytes += passed.bytes
  }
  try {
    await target.query('BEGIN')
    for (const piece of pieces) await copy(piece)
    await target.query('COMMIT')
    return copied
  } catch (thrown) {
    signal.throwIfAborted()
    throw new Error(`could not copy table ${nameOf(table)}: ${reasonOf(thrown)}`, { cause: thrown })
  }
}

function nameOf({ schema, name }: MovedTable): string {
  return `${schema}.${name}`
}

function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}
