// One statement of every piece of a range of pages, planned once if there are several.
import type { Client } from 'pg'
import { fromAnyRange, fromRange, type PageRange, piecesOf, type RowsOf } from './page-ranges.ts'

export type PiecesOf = {
  readonly range: PageRange
  /** Of a piece, about. */
  readonly pieceBytes: number
  readonly rows: RowsOf
  /** The statement, out of its FROM and WHERE. */
  readonly sql: (from: string) => string
}

/** A number that no page has: behind the last. */
const pageMax = 0xffff_ffff

/** `ask` runs the statement that it is given on `client`, for one piece after the other. */
export async function eachPiece(
  client: Client,
  { range, pieceBytes, rows, sql }: PiecesOf,
  ask: (statement: string, piece: PageRange) => Promise<void>,
): Promise<void> {
  const pieces = [...piecesOf(range, pieceBytes)]
  if (pieces.length === 1) {
    await ask(sql(fromRange(range, rows)), range)
    return
  }
  const prepared = sql(fromAnyRange(range.leaf, rows))
  await client.query(
    `SET plan_cache_mode = force_generic_plan; PREPARE piece (tid, tid) AS ${prepared}`,
  )
  for (const piece of pieces) await ask(`EXECUTE piece ${boundsOf(piece)}`, piece)
  await client.query('DEALLOCATE piece')
}

function boundsOf({ from, to }: PageRange): string {
  return `('(${from},0)', '(${to ?? pageMax},0)')`
}
