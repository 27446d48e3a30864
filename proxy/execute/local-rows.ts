// Rows that the proxy itself gives: EXPLAIN (ROUTE) and SHOW ringfence.…
import { pgError } from '../../core/errors.ts'
import { explainRoute } from '../../router/explain.ts'
import {
  writeBindComplete,
  writeCommandComplete,
  writeDataRow,
  writeRowDescription,
} from '../../wire/backend.ts'
import type { Session } from '../session.ts'
import type { Unit } from './unit.ts'

const textOid = 25

/** How the statement would go, one aspect a row. */
export function runExplainRoute(session: Session, unit: Unit, sql: string): void {
  const { state } = session
  const rows = explainRoute(sql, state.database.router, state.context())
  sendRows(session, unit, { columns: ['aspect', 'value'], rows, tag: 'EXPLAIN' })
}

/** @throws PgError 42704 for a name that is not one of ours. */
export function runShowRingfence(session: Session, unit: Unit, name: string): void {
  const { database, leases } = session.state
  const values: Readonly<Record<string, () => string>> = {
    'ringfence.epoch': () => String(database.topology.epoch),
    'ringfence.shards': () => database.shards.join(', '),
    'ringfence.pins': () => leases.pinReasons.join(', '),
  }
  const value = values[name]
  if (value === undefined) throw pgError('undefinedSetting', [name])
  sendRows(session, unit, { columns: [name], rows: [[value()]], tag: 'SHOW' })
}

type LocalRows = {
  readonly columns: readonly string[]
  readonly rows: readonly (readonly string[])[]
  readonly tag: string
}

/** All columns are text, in text and in binary format alike. */
function sendRows(session: Session, unit: Unit, { columns, rows, tag }: LocalRows): void {
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
