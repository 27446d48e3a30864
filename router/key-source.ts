// Where a statement's shard key values come from (literals, parameters, arrays of them), and how
// they are read once a text and its parameters are at hand. A value is read exactly as the server
// would read it in that place, or it is refused: a wrong reading would be a wrong shard.
import type { PgError } from '../core/errors.ts'
import { pgError } from '../core/errors.ts'
import {
  int8FromText,
  intFromBinary,
  textOf,
  uuidFromBinary,
  uuidFromText,
} from '../wire/values.ts'
import { arrayElements } from './array-value.ts'
import type { KeyValue } from './key-hash.ts'
import { bytesOf, charactersIn, type Constant, type Literals } from './literals.ts'
import type { KeyType } from './schema.ts'

/** Types that a key's value may be cast to without becoming another value. */
export type CastFamily = 'integer' | 'numeric' | 'text' | 'uuid'

/** A value that is written in the statement or bound to it. `param` counts from 1. */
export type Scalar = {
  readonly from:
    | { readonly kind: 'literal'; readonly index: number; readonly negative: boolean }
    | { readonly kind: 'constant'; readonly constant: Constant }
    | { readonly kind: 'param'; readonly param: number }
    | { readonly kind: 'null' }
  readonly cast: CastFamily | null
}

/** Set for the key of inserted rows: such a value must exist, and is assigned, not compared. */
export type InsertTarget = {
  readonly relation: string
  readonly column: string
  /** Characters that the column holds at most; null without a limit. */
  readonly charsMax: number | null
}

/** `column`: what is compared with the values, for EXPLAIN (ROUTE). */
export type KeySource = {
  readonly column: string
  readonly keyType: KeyType
  readonly insert: InsertTarget | null
  readonly values:
    | { readonly kind: 'scalars'; readonly scalars: readonly Scalar[] }
    | { readonly kind: 'array'; readonly array: Scalar }
}

/** Parameters of one Bind. */
export type BoundParams = {
  readonly formats: readonly number[]
  readonly values: readonly (Uint8Array | null)[]
  /** Type oids that Parse declared; 0 and absent: the server infers the type. */
  readonly types: readonly number[]
}

/** What a source's values are taken from. */
export type Bindings = { readonly literals: Literals; readonly params: BoundParams | null }

type Reading = KeyValue | 'matchesNothing' | { readonly refused: PgError }

const oid = {
  int8: 20,
  int2: 21,
  int4: 23,
  text: 25,
  unknown: 705,
  varchar: 1043,
  numeric: 1700,
  uuid: 2950,
}
const arrayElementOid: ReadonlyMap<number, number> = new Map([
  [1005, oid.int2],
  [1007, oid.int4],
  [1016, oid.int8],
  [1009, oid.text],
  [1015, oid.varchar],
  [1231, oid.numeric],
  [2951, oid.uuid],
])
const integers: readonly number[] = [oid.int8, oid.int2, oid.int4]
const texts: readonly number[] = [oid.text, oid.varchar, oid.unknown]

/** Key values of a source; `nothing`: there was a NULL, or a value that no key can have. */
export type Keys = { readonly values: readonly KeyValue[]; readonly nothing: boolean }

/** Key values of a source, or why they cannot be told. */
export function keysOf(source: KeySource, bindings: Bindings): Keys | PgError {
  const keys: KeyValue[] = []
  let nothing = false
  const readings =
    source.values.kind === 'array'
      ? readArray(source, source.values.array, bindings)
      : source.values.scalars.map((scalar) => readScalar(source, scalar, bindings))
  for (const reading of readings) {
    if (typeof reading === 'object' && 'refused' in reading) return reading.refused
    if (reading !== 'matchesNothing') {
      const misfit = source.insert === null ? null : misfitOf(reading, source.insert)
      if (misfit !== null) return misfit
      keys.push(reading)
    } else if (source.insert !== null) {
      return pgError('keyMissing', [source.insert.column, source.insert.relation])
    } else nothing = true
  }
  return { values: keys, nothing }
}

/** True for NULL and zero, and for a parameter while none are bound: the server will ask for it. */
export function isZero({ from }: Scalar, { literals, params }: Bindings): boolean {
  if (from.kind === 'null') return true
  if (from.kind !== 'param') {
    const { raw } = from.kind === 'constant' ? from.constant : literals.at(from.index)
    return /^0+$/.test(raw)
  }
  const bytes = params?.values[from.param - 1]
  if (params === null || bytes === null) return true
  const digit = formatOf(params, from.param) === 1 ? 0 : 0x30
  return bytes !== undefined && bytes.length > 0 && bytes.every((byte) => byte === digit)
}

/** 0 text, 1 binary: one format may stand for all parameters. */
function formatOf({ formats }: BoundParams, param: number): number {
  return (formats.length === 1 ? formats[0] : formats[param - 1]) ?? 0
}

function readScalar(source: KeySource, scalar: Scalar, bindings: Bindings): Reading {
  const { from } = scalar
  switch (from.kind) {
    case 'null':
      return 'matchesNothing'
    case 'constant':
      return readConstant(source, from.constant, scalar.cast)
    case 'literal': {
      const { kind, raw } = bindings.literals.at(from.index)
      return readConstant(source, { kind, raw: from.negative ? `-${raw}` : raw }, scalar.cast)
    }
    case 'param':
      return readParam(source, from.param, scalar.cast, bindings.params)
  }
}

function readConstant(source: KeySource, constant: Constant, cast: CastFamily | null): Reading {
  const { kind, raw } = constant
  if (kind === 'bits') return refuse('a bit string as shard key value')
  if (kind === 'string') return readText(source, bytesOf(raw), cast ?? familyOf(source.keyType))
  if (source.keyType === 'bigint') return readNumber(source, raw, cast)
  // Assigned to a text column, an integer becomes its decimal text; compared with one, it is an
  // error.
  const integer = cast === null && source.keyType === 'text' ? integerOf(raw) : undefined
  if (source.insert === null || integer === undefined || /[.e]/i.test(raw)) {
    return refuse(`a number as shard key value of type ${source.keyType}`)
  }
  return { kind: 'text', bytes: bytesOf(String(integer)) }
}

/** A number is read by its value: 5, 5.0 and 0x5 are one key. */
function readNumber(source: KeySource, raw: string, cast: CastFamily | null): Reading {
  if (cast === 'text' || cast === 'uuid') return refuse('a cast of a number to a shard key')
  const integer = integerOf(raw)
  if (integer === undefined) return fraction(source, cast)
  return within64Bits(source, integer, raw)
}

function fraction(source: KeySource, cast: CastFamily | null): Reading {
  const rounded = cast === 'integer' || source.insert !== null
  return rounded ? refuse('rounding a shard key value') : 'matchesNothing'
}

function within64Bits(source: KeySource, integer: bigint, raw: string): Reading {
  if (BigInt.asIntN(64, integer) === integer) return { kind: 'bigint', value: integer }
  if (source.insert === null) return 'matchesNothing'
  return { refused: pgError('keyOutOfRange', [raw, 'bigint']) }
}

/**
 * A string, or a parameter in text format, that the server reads with the input function of
 * `family`.
 */
function readText(source: KeySource, bytes: Uint8Array, family: CastFamily): Reading {
  if (source.keyType === 'text') {
    return family === 'text' ? { kind: 'text', bytes } : refuse('a cast of a text shard key')
  }
  if (source.keyType === 'uuid') {
    if (family !== 'uuid') return refuse('a cast of a uuid shard key')
    const uuid = uuidFromText(bytes)
    return uuid === undefined ? invalid('uuid', bytes) : { kind: 'uuid', bytes: uuid }
  }
  if (family === 'numeric') {
    const text = textOf(bytes).trim()
    const integer = integerOf(text)
    if (integer === undefined) {
      return /^[-+]?[\d_]*(?:\.[\d_]*)?(?:e[-+]?\d+)?$/i.test(text)
        ? fraction(source, 'numeric')
        : invalid('numeric', bytes)
    }
    return within64Bits(source, integer, text)
  }
  if (family !== 'integer') return refuse('a cast of a bigint shard key')
  const value = int8FromText(bytes)
  return value === undefined ? invalid('bigint', bytes) : { kind: 'bigint', value }
}

function readParam(
  source: KeySource,
  param: number,
  cast: CastFamily | null,
  params: BoundParams | null,
): Reading {
  const bytes = params?.values[param - 1]
  if (params === null || bytes === undefined) {
    return { refused: pgError('parameterMissing', [param]) }
  }
  if (bytes === null) return 'matchesNothing'
  const declared = params.types[param - 1] ?? 0
  return readTyped(source, bytes, formatOf(params, param) === 1, { declared, cast })
}

type ValueType = { readonly declared: number; readonly cast: CastFamily | null }

function readTyped(
  source: KeySource,
  bytes: Uint8Array,
  binary: boolean,
  { declared, cast }: ValueType,
): Reading {
  // The server infers the type of an undeclared parameter from the cast, or else from the key's
  // column.
  const own = declared === 0 ? (cast ?? familyOf(source.keyType)) : familyOfOid(declared)
  if (own === undefined) return refuse(`a parameter of type ${declared} as shard key value`)
  // What is read as text may then be cast; every other change of type could change the value.
  if (own === 'text') return readText(source, bytes, cast ?? 'text')
  if (cast === 'text' || (own === 'uuid') !== (source.keyType === 'uuid')) {
    return refuse('a cast of a shard key parameter')
  }
  if (!binary) {
    const reading = readText(source, bytes, own)
    return reading === 'matchesNothing' ? fraction(source, cast) : reading
  }
  if (own === 'uuid') {
    const uuid = uuidFromBinary(bytes)
    return uuid === undefined ? invalid('uuid', bytes) : { kind: 'uuid', bytes: uuid.slice() }
  }
  if (own === 'numeric') return refuse('a binary numeric parameter as shard key value')
  const value = intFromBinary(bytes)
  return value === undefined ? invalid('bigint', bytes) : { kind: 'bigint', value }
}

function readArray(source: KeySource, array: Scalar, bindings: Bindings): Reading[] {
  const { from, cast } = array
  let bytes: Uint8Array | null | undefined
  let binary = false
  let declared = 0
  if (from.kind === 'param') {
    const { params } = bindings
    bytes = params?.values[from.param - 1]
    binary = params !== null && formatOf(params, from.param) === 1
    declared = params?.types[from.param - 1] ?? 0
    if (bytes === undefined) return [{ refused: pgError('parameterMissing', [from.param]) }]
  } else if (from.kind !== 'null') {
    const constant = from.kind === 'constant' ? from.constant : bindings.literals.at(from.index)
    if (constant.kind !== 'string') return [refuse('a number as an array of shard key values')]
    bytes = bytesOf(constant.raw)
  }
  if (bytes === null || bytes === undefined) return []
  // Undeclared parameters and strings take the array type of the cast or of the key's column.
  const element = declared === 0 ? 0 : arrayElementOid.get(declared)
  if (element === undefined) return [refuse('a parameter of this type as an array of keys')]
  const elements = arrayElements(bytes, binary)
  if (elements === undefined) return [invalid(`${source.keyType}[]`, bytes)]
  return elements.map((value) =>
    value === null
      ? 'matchesNothing'
      : readTyped(source, value, binary, { declared: element, cast }),
  )
}

/**
 * The integer that a number's text stands for, whatever its notation; undefined when it is none.
 */
function integerOf(text: string): bigint | undefined {
  const match = /^([-+]?)(\d[\d_]*|\d*)(?:\.([\d_]*))?(?:e([-+]?\d+))?$/i.exec(text)
  if (match === null) {
    const based = /^(-?)(0[xob][\da-f_]+)$/i.exec(text)
    if (based === null) return undefined
    const magnitude = BigInt((based[2] ?? '').replaceAll('_', ''))
    return based[1] === '-' ? -magnitude : magnitude
  }
  const [, sign, whole = '', decimals = '', exponentText = '0'] = match
  const exponent = Number(exponentText)
  const digits = `${whole}${decimals}`.replaceAll('_', '')
  if (digits === '') return undefined
  const significant = digits.replace(/^0+/, '')
  if (significant === '') return 0n
  const scale = decimals.replaceAll('_', '').length - exponent
  // Far outside of 64 bits: any integer out of range stands for it.
  if (significant.length - scale > 40) return 2n ** 64n
  if (scale > 0 && !/^0*$/.test(significant.slice(-scale))) return undefined
  const kept = scale > 0 ? significant.slice(0, significant.length - scale) : significant
  const value = BigInt(kept === '' ? '0' : kept) * (scale < 0 ? 10n ** BigInt(-scale) : 1n)
  return sign === '-' ? -value : value
}

/**
 * Error for a key that its column would not take as it is: text longer than the column, whose
 * blanks PostgreSQL cuts.
 */
export function misfitOf(
  key: KeyValue,
  { charsMax, column, relation }: InsertTarget,
): PgError | null {
  if (charsMax === null || key.kind !== 'text' || key.bytes.length <= charsMax) return null
  if (charactersIn(textOf(key.bytes)) <= charsMax) return null
  return pgError('keyTooLong', [charsMax, column, relation])
}

function familyOf(keyType: KeyType): CastFamily {
  return keyType === 'bigint' ? 'integer' : keyType
}

function familyOfOid(type: number): CastFamily | undefined {
  if (integers.includes(type)) return 'integer'
  if (texts.includes(type)) return 'text'
  if (type === oid.numeric) return 'numeric'
  return type === oid.uuid ? 'uuid' : undefined
}

function refuse(construct: string): Reading {
  return { refused: pgError('unsupported', [construct]) }
}

function invalid(type: string, bytes: Uint8Array): Reading {
  const control = bytes.some((byte) => byte < 0x20)
  const shown = control ? `\\x${Buffer.from(bytes).toString('hex')}` : textOf(bytes)
  return { refused: pgError('keyInvalid', [type, shown]) }
}
