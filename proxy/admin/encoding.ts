// Cells of the console's tables as the client asked for them: text, or PostgreSQL's binary formats of the types that
// columns have; and the values that it has bound.
import { pgError } from '../../core/errors.ts'
import type { FieldDescription } from '../../wire/backend.ts'
import type { BindMessage } from '../../wire/frontend.ts'
import type { Cell } from '../fleet.ts'
import type { Column, ColumnType } from './view.ts'

/** Type that parameters have unless the client says otherwise. */
export const textOid = 25

const types: Readonly<Record<ColumnType, { readonly oid: number; readonly size: number }>> = {
  text: { oid: textOid, size: -1 },
  int4: { oid: 23, size: 4 },
  int8: { oid: 20, size: 8 },
  numeric: { oid: 1700, size: -1 },
}
/** Sizes of int2, int4 and int8, by their type. */
const integerOids: ReadonlyMap<number, number> = new Map([
  [21, 2],
  [23, 4],
  [20, 8],
])

/** RowDescription of `columns`; `formats` as in Bind. */
export function fieldsOf(
  columns: readonly Column[],
  formats: readonly number[],
): readonly FieldDescription[] {
  return columns.map(({ name, type }, at) => ({
    name,
    tableOid: 0,
    column: 0,
    typeOid: types[type].oid,
    typeSize: types[type].size,
    typeModifier: -1,
    format: formatOf(formats, at),
  }))
}

/** One row in the formats asked for. */
export function encodeRow(
  columns: readonly Column[],
  row: readonly Cell[],
  formats: readonly number[],
): readonly (Uint8Array | string | null)[] {
  return columns.map(({ type }, at) => {
    const cell = row[at] ?? null
    if (cell === null) return null
    return formatOf(formats, at) === 1 ? binary(cell, type) : String(cell)
  })
}

/** Bound values as texts. @throws PgError 22P03 for a binary value of another type than text or an integer */
export function boundTexts(
  { params, paramFormats }: BindMessage,
  paramTypes: readonly number[],
): readonly (string | null)[] {
  return params.map((value, at) => {
    if (value === null) return null
    const bytes = Buffer.from(value)
    const size = integerOids.get(paramTypes[at] ?? textOid)
    if (formatOf(paramFormats, at) !== 1 || size === undefined) return bytes.toString()
    if (bytes.length !== size) throw pgError('adminValueInvalid', [`$${at + 1}`, 'its length'])
    return String(size === 8 ? bytes.readBigInt64BE() : bytes.readIntBE(0, size))
  })
}

function formatOf(formats: readonly number[], at: number): number {
  return (formats.length === 1 ? formats[0] : formats[at]) ?? 0
}

function binary(cell: string | number, type: ColumnType): Uint8Array {
  switch (type) {
    case 'text':
      return Buffer.from(String(cell))
    case 'int4': {
      const bytes = Buffer.alloc(4)
      bytes.writeInt32BE(Math.min(Number(cell), 2 ** 31 - 1))
      return bytes
    }
    case 'int8': {
      const bytes = Buffer.alloc(8)
      bytes.writeBigInt64BE(BigInt(cell))
      return bytes
    }
    case 'numeric':
      return binaryNumeric(BigInt(cell))
  }
}

/** An integer as numeric_send writes it: digits of base 10,000, without zeros at the end. */
function binaryNumeric(value: bigint): Uint8Array {
  const digits: number[] = []
  for (let rest = value < 0n ? -value : value; rest > 0n; rest /= 10_000n) {
    digits.unshift(Number(rest % 10_000n))
  }
  const weight = digits.length - 1
  while (digits.at(-1) === 0) digits.pop()
  const bytes = Buffer.alloc(8 + 2 * digits.length)
  bytes.writeInt16BE(digits.length, 0)
  bytes.writeInt16BE(Math.max(weight, 0), 2)
  bytes.writeUInt16BE(value < 0n ? 0x4000 : 0, 4)
  for (const [at, digit] of digits.entries()) bytes.writeInt16BE(digit, 8 + 2 * at)
  return bytes
}
