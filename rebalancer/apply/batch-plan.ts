// A batch of changes as statements. Of a row that changes several times only the end counts, and
// rows that change alike go into one statement: that is what makes applying fast. It changes the
// order in which rows are touched, which another unique index may not like: then the same changes
// run one by one, in the order of the source.
import { movedSetSql, type MovedSet } from '../../router/moved-set.ts'
import type { KeyType } from '../../router/schema.ts'
import type { AppliedTable } from './applied-table.ts'
import type { Change } from './changes.ts'
import {
  identityOf,
  rekey,
  remove,
  type Row,
  type Statement,
  update,
  upsert,
} from './statements.ts'

export type MovedRows = { readonly set: MovedSet; readonly keyType: KeyType }

/**
 * What becomes of one row: `row` is complete when inserted, has the changed columns when updated.
 */
type Outcome =
  | { readonly kind: 'insert'; readonly row: Row }
  | { readonly kind: 'update'; readonly row: Row }
  | { readonly kind: 'delete'; readonly row: Row }
  /** An update of what the batch itself has removed: its statement will find nothing. */
  | { readonly kind: 'lost'; readonly row: Row }

/** One statement per change, in order. */
export function planInOrder(changes: readonly Change[], moved: MovedRows): Statement[] {
  return changes.flatMap((change) => single(change, moved))
}

/** The same end with few statements. */
export function planByRow(changes: readonly Change[], moved: MovedRows): Statement[] {
  const statements: Statement[] = []
  const pending = new Map<AppliedTable, Map<string, Outcome>>()
  const flush = (table: AppliedTable) => {
    statements.push(...merged(table, pending.get(table)?.values() ?? []))
    pending.delete(table)
  }
  for (const change of changes) {
    const { table } = change
    if (change.kind === 'rekey' || change.kind === 'truncate' || !mergeable(table)) {
      flush(table)
      statements.push(...single(change, moved))
      continue
    }
    let outcomes = pending.get(table)
    if (outcomes === undefined) {
      outcomes = new Map()
      pending.set(table, outcomes)
    }
    const identity = identityText(table, change.row)
    outcomes.set(identity, outcomeOf(outcomes.get(identity), change))
  }
  for (const table of pending.keys()) flush(table)
  return statements
}

function mergeable({ bytewise, replaces }: AppliedTable): boolean {
  return bytewise && !replaces
}

function single(change: Change, { set, keyType }: MovedRows): Statement[] {
  const { table } = change
  switch (change.kind) {
    case 'insert':
      return upsert(table, [change.row])
    case 'update':
      // A column that UPDATE cannot set may be among the changed ones.
      if (table.replaces) return rekey(table, identityOf(table, change.row), change.row)
      return update(table, [change.row])
    case 'rekey':
      return rekey(table, change.old, change.row)
    case 'delete':
      return remove(table, [change.row])
    case 'truncate': {
      const where = movedSetSql(set, table.columns[table.key]?.quoted ?? '', keyType)
      const text = `DELETE FROM ${table.quoted} WHERE ${where}`
      return [{ text, types: [], params: [], expects: null }]
    }
  }
}

function outcomeOf(before: Outcome | undefined, change: Change): Outcome {
  switch (change.kind) {
    case 'insert':
      return change
    case 'delete':
      return change
    case 'update': {
      const { row } = change
      if (before === undefined || before.kind === 'lost') return before ?? { kind: 'update', row }
      if (before.kind === 'delete') return { kind: 'lost', row }
      const earlier = before.row
      return { kind: before.kind, row: row.map((value, at) => value ?? nullOr(value, earlier[at])) }
    }
    case 'rekey':
    case 'truncate':
      throw new Error(`broken invariant: ${change.kind} is never merged`)
  }
}

/** NULL is a value; only what is unchanged comes from the earlier row. */
function nullOr(value: null | undefined, earlier: Row[number]): Row[number] {
  return value === null ? null : earlier
}

/** Removals first: they free what others may take. */
function merged(table: AppliedTable, outcomes: Iterable<Outcome>): Statement[] {
  const removed: Row[] = []
  const inserted: Row[] = []
  const updated = new Map<string, Row[]>()
  for (const { kind, row } of outcomes) {
    if (kind === 'delete') removed.push(row)
    else if (kind === 'insert') inserted.push(row)
    else {
      const mask = maskText(row)
      const alike = updated.get(mask)
      if (alike === undefined) updated.set(mask, [row])
      else alike.push(row)
    }
    // The removal is done as well, so that the update finds nothing.
    if (kind === 'lost') removed.push(row)
  }
  return [
    ...(removed.length > 0 ? remove(table, removed) : []),
    ...[...updated.values()].flatMap((rows) => update(table, rows)),
    ...(inserted.length > 0 ? upsert(table, inserted) : []),
  ]
}

/** Which columns a row has. */
function maskText(row: Row): string {
  let mask = ''
  for (const value of row) mask += value === undefined ? '0' : '1'
  return mask
}

/** Different identities have different texts: each value stands behind its length. */
function identityText({ identity }: AppliedTable, row: Row): string {
  let text = ''
  for (const at of identity) {
    const bytes = row[at] ?? new Uint8Array(0)
    text += `${bytes.length}:`
    text += Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
  }
  return text
}
