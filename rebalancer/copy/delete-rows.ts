// Deletes the rows of a set from a table, batch by batch: each is a transaction of its own, so that
// locks and the work that a crash undoes stay small. Safe to run again; what it deletes nobody
// reads or writes any more.
import { type Client, escapeIdentifier } from 'pg'
import type { Throttle } from '../throttle.ts'
import { openWriter, type ShardConnection } from './connection.ts'
import { eachPiece } from './each-piece.ts'
import { type PageRange, piecesOf, readRanges, type RowsOf } from './page-ranges.ts'

export type DeleteOptions = RowsOf & {
  readonly url: string
  /** Most rows of one transaction; fewer when rows are large. */
  readonly batchRows: number
  readonly throttle: Throttle
  /** Rows deleted since the last call. */
  readonly onProgress: (rows: number) => void
  readonly signal: AbortSignal
}

/** A part that a batch looks through. */
const rangeBytes = 8 * 1024 * 1024
/** Large values cost as they are long: each piece of 2 kB out of line is a row of its own. */
const batchBytesMax = 64 * 1024 * 1024
/** Commits wait for the disk, and others' with them: of small pieces there would be too many. */
const piecesOfCommit = 8

/**
 * Gives the number of rows deleted. No trigger runs and no foreign key is looked at
 * (session_replication_role). @throws the signal's reason, else what pg throws.
 */
export async function deleteRows(options: DeleteOptions): Promise<number> {
  await using connection = await openWriter(options.url, options.signal)
  let total = 0
  try {
    // A row that was updated meanwhile may have gone to a part that was done: the last pass finds
    // nothing.
    for (;;) {
      const deleted = await deleteOnce(options, connection)
      if (deleted === 0) return total
      total += deleted
    }
  } catch (thrown) {
    options.signal.throwIfAborted()
    throw thrown
  }
}

async function deleteOnce(options: DeleteOptions, { client }: ShardConnection): Promise<number> {
  let total = 0
  const partBytes = options.throttle.pieceBytesMax * piecesOfCommit
  for (const range of await readRanges(client, options, rangeBytes)) {
    for (const part of piecesOf(range, partBytes)) {
      total += await deleteRange(options, client, part)
    }
  }
  return total
}

async function deleteRange(
  { batchRows, throttle, signal, onProgress, ...rows }: DeleteOptions,
  client: Client,
  range: PageRange,
): Promise<number> {
  const { schema, name, rowBytes } = range.leaf
  const limit = Math.max(1, Math.min(batchRows, Math.floor(batchBytesMax / rowBytes)))
  const leaf = `${escapeIdentifier(schema)}.${escapeIdentifier(name)}`
  const sql = (from: string) =>
    `DELETE FROM ONLY ${leaf} WHERE ctid = ANY (ARRAY(SELECT ctid ${from} LIMIT ${limit}))`
  let total = 0
  let open = 0
  const commit = async (how: string) => {
    await client.query(how)
    if (open > 0) onProgress(open)
    open = 0
  }
  await client.query('BEGIN')
  const pieces = { range, pieceBytes: throttle.pieceBytesMax, rows, sql }
  await eachPiece(client, pieces, async (statement) => {
    let deleted = limit
    while (deleted === limit) {
      using _turn = await throttle.turn(signal)
      deleted = (await client.query(statement)).rowCount ?? 0
      total += deleted
      open += deleted
      if (open >= limit) await commit('COMMIT AND CHAIN')
      await throttle.pass(Math.ceil(deleted * rowBytes), signal)
    }
  })
  await commit('COMMIT')
  return total
}
