// A followed table as both sides agree on it: which columns are written, in which form they come,
// and the statements that write them. Every statement takes any number of rows, as one array per
// column.
import { escapeIdentifier } from 'pg'
import { assert } from '../../core/assert.ts'
import type { Lsn } from '../../core/lsn.ts'
import { MoveProblem } from '../move-problem.ts'
import type { ColumnFacts, TableFacts, TableName } from './table-facts.ts'

/** Changes of transactions whose final LSN is below `fromLsn` are in the copy already. */
export type FollowedTable = TableName & {
  /** Shard key column. */
  readonly key: string
  /** Columns of the primary key. */
  readonly identity: readonly string[]
  readonly fromLsn: Lsn
}

/** How values travel: `binary` when all columns of all tables allow it, else everything as text. */
export type ValueFormat = 'binary' | 'text'

export type AppliedColumn = {
  readonly name: string
  readonly quoted: string
  /** Oids of the elements and of the array that carries them. */
  readonly elementOid: number
  readonly arrayOid: number
  /** Behind an element: `::type` where it is carried as text. */
  readonly cast: string
  /** GENERATED ALWAYS AS IDENTITY: UPDATE cannot set it. */
  readonly alwaysIdentity: boolean
}

export type AppliedTable = TableName & {
  readonly quoted: string
  readonly fromLsn: Lsn
  /** As the source publishes them. */
  readonly source: readonly ColumnFacts[]
  /** Written columns, in the source's order. */
  readonly columns: readonly AppliedColumn[]
  /** Places in `columns`: of the shard key, and of the primary key. */
  readonly key: number
  readonly identity: readonly number[]
  /** One per identity column, such as `OPERATOR(pg_catalog.=)`. */
  readonly equality: readonly string[]
  /** Rows are replaced by DELETE and INSERT: UPDATE cannot set an identity column, or a rule forbids ON CONFLICT. */
  readonly replaces: boolean
  /** Equal identities have equal bytes: changes of different rows may be put together. */
  readonly bytewise: boolean
}

const textOid = 25
const textArrayOid = 1009
const binaryHint = 'Make the table the same on both shards, then abort the move and begin it again.'

/** Form in which the values of these tables can travel safely. */
export function formatFor(tables: readonly TableFacts[]): ValueFormat {
  const columns = tables.flatMap((table) => table.columns)
  return columns.every(({ binarySafe, generated }) => binarySafe || generated !== '')
    ? 'binary'
    : 'text'
}

/** Puts together what both sides say. @throws MoveProblem schemaChanged where they disagree. */
export function applyTable(
  followed: FollowedTable,
  source: TableFacts | undefined,
  target: TableFacts | undefined,
  format: ValueFormat,
): AppliedTable {
  const shown = `${followed.schema}.${followed.name}`
  if (source === undefined) throw differs(shown, 'the source does not have it')
  if (target === undefined) throw differs(shown, 'the target does not have it')
  const written = source.columns.filter(({ generated }) => generated === '')
  checkColumns(shown, source.columns, target.columns)
  const columns = written.map((column) => {
    const own = target.columns.find(({ name }) => name === column.name)
    assert(own !== undefined, 'the columns of both sides have been compared')
    return columnOf(own, format)
  })
  const place = (name: string) => {
    const at = columns.findIndex((column) => column.name === name)
    if (at < 0) throw differs(shown, `column "${name}" is missing or generated`)
    return at
  }
  const names = target.primaryKey.map(({ column }) => column)
  if (names.toSorted().join('\0') !== followed.identity.toSorted().join('\0')) {
    throw differs(shown, `its primary key is not (${followed.identity.join(', ')}) on the target`)
  }
  if (!target.immediate) {
    const message = `the primary key of table "${shown}" is deferrable, so that rows may share it`
    const hint = 'Make the primary key NOT DEFERRABLE on both shards, then begin the move again.'
    throw new MoveProblem('identityMissing', message, { hint })
  }
  const identity = names.map(place)
  return {
    schema: followed.schema,
    name: followed.name,
    quoted: `${escapeIdentifier(followed.schema)}.${escapeIdentifier(followed.name)}`,
    fromLsn: followed.fromLsn,
    source: source.columns,
    columns,
    key: place(followed.key),
    identity,
    equality: target.primaryKey.map(({ equality }) => equality),
    replaces:
      target.updateRule ||
      columns.some(({ alwaysIdentity }, at) => alwaysIdentity && !identity.includes(at)),
    bytewise: identity.every((at) => {
      return target.columns.find(({ name }) => name === columns[at]?.name)?.bytewise === true
    }),
  }
}

/** The error for a table that is not what it was agreed to be. */
export function differs(table: string, how: string): MoveProblem {
  return new MoveProblem('schemaChanged', `table "${table}" cannot be followed: ${how}`, {
    hint: binaryHint,
  })
}

function checkColumns(
  table: string,
  source: readonly ColumnFacts[],
  target: readonly ColumnFacts[],
): void {
  for (const column of source) {
    const own = target.find(({ name }) => name === column.name)
    if (own === undefined) throw differs(table, `the target has no column "${column.name}"`)
    if (own.type !== column.type) {
      const types = `${column.type} on the source and ${own.type} on the target`
      throw differs(table, `column "${column.name}" is ${types}`)
    }
    if ((own.generated === '') !== (column.generated === '')) {
      throw differs(table, `column "${column.name}" is generated on one side only`)
    }
  }
  const extra = target.find(({ name }) => !source.some((column) => column.name === name))
  if (extra !== undefined) throw differs(table, `the source has no column "${extra.name}"`)
}

function columnOf(column: ColumnFacts, format: ValueFormat): AppliedColumn {
  const binary = format === 'binary'
  return {
    name: column.name,
    quoted: escapeIdentifier(column.name),
    elementOid: binary ? column.baseOid : textOid,
    arrayOid: binary ? column.arrayOid : textArrayOid,
    cast: binary ? '' : `::${column.type}`,
    alwaysIdentity: column.identity === 'a',
  }
}
