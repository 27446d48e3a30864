// Expressions and conditions over the columns in sight, from the plain to the perverse.
import type { Type, Values } from './values.ts'

export type Column = { readonly sql: string; readonly type: Type }

/** Writes a subquery with these output types; `outer`: columns that it may refer to. */
export type Subquery = (types: readonly Type[], outer: readonly Column[]) => string

/** An expression of a type. */
export function expression(values: Values, type: Type, columns: readonly Column[]): string {
  const { tape } = values
  const fitting = columns.filter((column) => column.type === type)
  const column = fitting[tape.below(Math.max(fitting.length, 1))]?.sql
  if (column === undefined) return values.literal(type)
  if (tape.mostly(4)) return column
  const other = fitting[tape.below(fitting.length)]?.sql ?? column
  switch (type) {
    case 'key':
      return tape.pick([
        column,
        `${column}::bigint`,
        `coalesce(${column}, 1)`,
        `nullif(${column}, 1)`,
      ])
    case 'int':
      return tape.pick([
        `${column} + ${other}`,
        `-${column}`,
        `plus_one(${column})`,
        `greatest(${column}, 2)`,
      ])
    case 'num':
      return tape.pick([`(${column} * 2)::numeric(12,2)`, `round(${column}, 1)::numeric(12,2)`])
    case 'text':
      return tape.pick([
        `upper(${column})`,
        `${column} || 'x'`,
        `coalesce(${column}, ${other}, '')`,
      ])
    case 'bool':
      return tape.pick([`NOT ${column}`, `(${column} IS TRUE)`])
    case 'date':
      return `(${column} + 1)`
    case 'mood':
      return `coalesce(${column}, 'ok')`
  }
}

/** A condition that ties `column` to the statement's key, or only looks as if it did. */
export function keyCondition(values: Values, column: string, subquery: Subquery): string {
  const { tape, key } = values
  const one = () => values.keyLiteral(key)
  if (tape.mostly(3)) return tape.oneIn(4) ? `${one()} = ${column}` : `${column} = ${one()}`
  const other = values.anyKey()
  const forms = [
    () => `${column} IN (${one()})`,
    () => `${column} IN (${one()}, ${values.keyLiteral(other)})`,
    () => `${column} = ANY (${values.keyArray([key, other])})`,
    () => `${column} = ANY (${values.keyArray([key])})`,
    () => `(${column} = ${one()} OR ${column} = ${values.keyLiteral(other)})`,
    () => `${column} = ${one()} AND ${column} = ${values.keyLiteral(other)}`,
    () => `(${column}, 1) = (${one()}, 1)`,
    () => `(${column}, 1) IN ((${one()}, 1), (${one()}, 2))`,
    () => `${column} IN (VALUES (${one()}), (${values.keyLiteral(other)}))`,
    () => `NOT ${column} <> ${one()}`,
    () => `${column} IS NOT DISTINCT FROM ${one()}`,
    () => `${column} BETWEEN ${one()} AND ${one()}`,
    () => `(${column} = ${one()}) IS TRUE`,
    () => `(${column} = ${one()}) = true`,
    () => `${column} + 0 = ${one()}`,
    () => `${column} >= ${one()}`,
    () => `NOT (${column} = ${one()})`,
    () => `${column} <> ALL (${values.keyArray([key, other])})`,
    () => `${column} NOT IN (${one()})`,
    () => `(${column} = ${one()} OR true)`,
    () => `CASE WHEN ${column} = ${one()} THEN true ELSE false END`,
    () => `${column} = (${subquery(['key'], [])} LIMIT 1)`,
    () => `${column} IN (${subquery(['key'], [])})`,
    () => `${column} = NULL`,
    () => `${column} = ${one()}::numeric / 2`,
    () => `${column}::text = '${key}'`,
    () => `${column} = coalesce(${one()}, ${values.keyLiteral(other)})`,
    () => `${column} = ${key === '0' ? '0' : `'${key}'::numeric`}`,
    () => `${column} = 2.5`,
  ]
  return forms[tape.below(forms.length)]?.() ?? `${column} = ${one()}`
}

/** Any condition over `columns`. */
export function condition(
  values: Values,
  columns: readonly Column[],
  subquery: Subquery,
  depth: number,
): string {
  const { tape } = values
  const type = tape.pick<Type>(['int', 'text', 'key', 'num', 'bool', 'date', 'mood'])
  const left = expression(values, type, columns)
  const again = () => condition(values, columns, subquery, depth - 1)
  const simple = [
    () => `${left} = ${values.literal(type)}`,
    () => `${left} ${tape.pick(['<', '>=', '<>', '<='])} ${expression(values, type, columns)}`,
    () => `${left} IS NOT NULL`,
    () => `${left} IN (${values.literal(type)}, ${values.literal(type)})`,
    () => `${left} IS DISTINCT FROM ${values.literal(type)}`,
  ]
  const nested = [
    () => `(${again()} OR ${again()})`,
    () => `NOT (${again()})`,
    () => `EXISTS (${subquery([type], columns)})`,
    () => `NOT EXISTS (${subquery([type], columns)})`,
    () => `${left} IN (${subquery([type], tape.oneIn(2) ? columns : [])})`,
    () => `${left} NOT IN (${subquery([type], [])})`,
    () => `${left} = ANY (${subquery([type], [])})`,
    () => `${left} >= ALL (${subquery([type], [])})`,
    () => `(${again()}) IS NOT FALSE`,
  ]
  const forms = depth > 0 && tape.oneIn(2) ? nested : simple
  return forms[tape.below(forms.length)]?.() ?? 'true'
}
