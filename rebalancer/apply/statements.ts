// The statements that write rows of one table, as texts that stay the same, so that the target
// prepares each once. Every parameter is an array with one element per row; unnest() makes rows of
// them.
import type { AppliedColumn, AppliedTable } from './applied-table.ts'

/**
 * Values in the order of the table's columns; undefined: unchanged TOAST, which is left as it is.
 */
export type Row = readonly (Uint8Array | null | undefined)[]

/** An array of the value at `place` of every row. */
type ArrayParam = {
  readonly kind: 'array'
  readonly elementOid: number
  readonly rows: readonly Row[]
  readonly place: number
}
/** One value in binary. */
type ValueParam = { readonly kind: 'value'; readonly bytes: Uint8Array }

export type Param = ArrayParam | ValueParam

export type Statement = {
  readonly text: string
  /** Oids of the parameters' types. */
  readonly types: readonly number[]
  readonly params: readonly Param[]
  /**
   * The number of rows that it has to touch, and whose (null: of our own bookkeeping); null:
   * however many.
   */
  readonly expects: { readonly rows: number; readonly table: AppliedTable | null } | null
}

/** A statement without parameters whose count does not matter. */
export function plainStatement(text: string): Statement {
  return { text, types: [], params: [], expects: null }
}

/** Writes complete rows, new or instead of those of the same identity. */
export function upsert(table: AppliedTable, rows: readonly Row[]): Statement[] {
  const { columns, quoted, identity } = table
  const { params, types, from } = unnested(columns, rows, places(columns))
  const list = columns.map((column) => column.quoted).join(', ')
  const select = columns.map(({ cast }, at) => `u.c${at}${cast}`).join(', ')
  const insert = `INSERT INTO ${quoted} (${list}) OVERRIDING SYSTEM VALUE SELECT ${select} ${from}`
  if (table.replaces) {
    const identities = rows.map((row) => identityOf(table, row))
    return [
      ...remove(table, identities),
      { text: insert, types, params, expects: { rows: rows.length, table } },
    ]
  }
  const arbiter = identity.map((at) => columns[at]?.quoted).join(', ')
  const set = columns
    .filter((_, at) => !identity.includes(at))
    .map((column) => `${column.quoted} = EXCLUDED.${column.quoted}`)
    .join(', ')
  const action = set === '' ? 'DO NOTHING' : `DO UPDATE SET ${set}`
  return [{ text: `${insert} ON CONFLICT (${arbiter}) ${action}`, types, params, expects: null }]
}

/** Sets the columns that `rows` have, all of them the same ones; every row has to be there. */
export function update(table: AppliedTable, rows: readonly Row[]): Statement[] {
  const { columns, quoted, identity } = table
  const first = rows[0] ?? []
  const set = places(columns).filter((at) => !identity.includes(at) && first[at] !== undefined)
  const { params, types, from } = unnested(columns, rows, [...identity, ...set])
  // Nothing but unchanged values: the row is only asked for.
  const touched = set.length > 0 ? set : identity.slice(0, 1)
  const assignments = touched.map((at) => `${columns[at]?.quoted} = ${element(columns, at)}`)
  const where = matches(table, 'c')
  const text = `UPDATE ${quoted} AS x SET ${assignments.join(', ')} ${from} WHERE ${where}`
  return [{ text, types, params, expects: { rows: rows.length, table } }]
}

/** Removes rows by their identities, which stand at their places in otherwise empty rows. */
export function remove(table: AppliedTable, identities: readonly Row[]): Statement[] {
  const { params, types, from } = unnested(table.columns, identities, table.identity)
  const using = from.replace(/^FROM/, 'USING')
  const text = `DELETE FROM ${table.quoted} AS x ${using} WHERE ${matches(table, 'c')}`
  return [{ text, types, params, expects: null }]
}

/** Gives one row another identity, and its other columns new values where `row` has some. */
export function rekey(table: AppliedTable, old: Row, row: Row): Statement[] {
  const { columns, quoted } = table
  const set = places(columns).filter((at) => row[at] !== undefined)
  const news = unnested(columns, [row], set)
  const olds = unnested(columns, [old], table.identity, {
    name: 'o',
    first: news.params.length + 1,
  })
  const params = [...news.params, ...olds.params]
  const types = [...news.types, ...olds.types]
  const from = `${news.from}, ${olds.from.replace(/^FROM /, '')}`
  const expects = { rows: 1, table }
  const always = set.some((at) => columns[at]?.alwaysIdentity === true)
  if (!always && !table.replaces) {
    const assignments = set.map((at) => `${columns[at]?.quoted} = ${element(columns, at)}`)
    const where = matches(table, 'o')
    const text = `UPDATE ${quoted} AS x SET ${assignments.join(', ')} ${from} WHERE ${where}`
    return [{ text, types, params, expects }]
  }
  const list = columns.map((column) => column.quoted).join(', ')
  const select = columns.map((column, at) => {
    return set.includes(at) ? element(columns, at) : `g.${column.quoted}`
  })
  const text = `WITH g AS (DELETE FROM ${quoted} AS x USING ${olds.from.replace(/^FROM /, '')}
    WHERE ${matches(table, 'o')} RETURNING x.*)
    INSERT INTO ${quoted} (${list}) OVERRIDING SYSTEM VALUE
    SELECT ${select.join(', ')} ${news.from}, g`
  return [{ text, types, params, expects }]
}

/** The identity of a row, at its own places; the rest of it is not there. */
export function identityOf({ columns, identity }: AppliedTable, row: Row): Row {
  return columns.map((_, at) => (identity.includes(at) ? row[at] : undefined))
}

function places(columns: readonly unknown[]): number[] {
  return columns.map((_, at) => at)
}

function element(columns: readonly AppliedColumn[], at: number): string {
  return `u.c${at}${columns[at]?.cast ?? ''}`
}

/**
 * The identity of `x`, the row in the table, is that of the elements. `o`: the old one's, in
 * `rekey`.
 */
function matches({ columns, identity, equality }: AppliedTable, of: 'c' | 'o'): string {
  return identity
    .map((at, index) => {
      const column = columns[at]
      const value = `${of === 'c' ? 'u.c' : 'v.o'}${at}${column?.cast ?? ''}`
      return `x.${column?.quoted} ${equality[index]} ${value}`
    })
    .join(' AND ')
}

/**
 * The chosen columns of `rows` as parameters, and the FROM clause that makes rows of them again.
 */
function unnested(
  columns: readonly AppliedColumn[],
  rows: readonly Row[],
  chosen: readonly number[],
  named: { readonly name: 'c' | 'o'; readonly first: number } = { name: 'c', first: 1 },
) {
  const params = chosen.map((place): Param => {
    return { kind: 'array', elementOid: columns[place]?.elementOid ?? 0, rows, place }
  })
  const types = chosen.map((at) => columns[at]?.arrayOid ?? 0)
  const arrays = chosen.map((_, index) => `$${named.first + index}`).join(', ')
  const names = chosen.map((at) => `${named.name}${at}`).join(', ')
  const alias = named.name === 'c' ? 'u' : 'v'
  return { params, types, from: `FROM unnest(${arrays}) AS ${alias} (${names})` }
}
