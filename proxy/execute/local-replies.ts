// Replies that the proxy itself gives: rows, and the end of commands that need no server.
import { explainRoute, type RouteRow } from '../../router/explain.ts'
import {
  writeBindComplete,
  writeCommandComplete,
  writeDataRow,
  writeNoData,
  writeRowDescription,
} from '../../wire/backend.ts'
import type { Session } from '../session.ts'
import type { Unit } from './unit.ts'

const textOid = 25

/** How the statement would go, one aspect a row. */
export function runExplainRoute(session: Session, unit: Unit, sql: string): void {
  const { state } = session
  const rows = explainRoute(sql, state.database.router, state.context())
  const explained = [...rows, ...replicaRows(session, rows)]
  sendRows(session, unit, { columns: ['aspect', 'value'], rows: explained, tag: 'EXPLAIN' })
}

/** Of a read: the replicas of its shards, and whether they would do for this session. */
function replicaRows({ state }: Session, rows: readonly RouteRow[]): readonly RouteRow[] {
  const { database, reads } = state
  const read = rows.some(([aspect, value]) => aspect === 'server' && value.startsWith('replica'))
  if (!read || !database.hasReplicas) return []
  const named = rows.flatMap(([aspect, value]) =>
    aspect === 'shard' || aspect === 'shards' ? value.split(', ') : [],
  )
  const shards = database.shards.filter((shard) => named.length === 0 || named.includes(shard))
  const concerned = named.includes('any') ? [database.home] : shards
  return concerned.map((shard) => [`replicas of ${shard}`, reads.describe(shard)])
}

type LocalRows = {
  readonly columns: readonly string[]
  readonly rows: readonly (readonly (string | null)[])[]
  readonly tag: string
}

/** All columns are text, in text and in binary format alike. */
export function sendRows(session: Session, unit: Unit, { columns, rows, tag }: LocalRows): void {
  if (unit.extended?.bind === true) session.output.emit(writeBindComplete)
  if (unit.extended === null || unit.extended.describe) {
    const fields = columns.map((name) => ({
      name,
      tableOid: 0,
      column: 0,
      typeOid: textOid,
      typeSize: -1,
      typeModifier: -1,
      format: 0,
    }))
    session.output.emit((writer) => writeRowDescription(writer, fields))
  }
  for (const row of rows) session.output.emit((writer) => writeDataRow(writer, row))
  session.output.deferMessage((writer) => writeCommandComplete(writer, tag))
}

/** BindComplete and NoData, where the client waits for them. */
export function acknowledge(session: Session, unit: Unit): void {
  if (unit.extended?.bind === true) session.output.emit(writeBindComplete)
  if (unit.extended?.describe === true) session.output.emit(writeNoData)
}

/** The end of a command that gives no rows. */
export function complete(session: Session, unit: Unit, tag: string): void {
  acknowledge(session, unit)
  session.output.deferMessage((writer) => writeCommandComplete(writer, tag))
}
