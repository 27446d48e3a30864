// TupleData of pgoutput: the columns of a row, each NULL, an unchanged TOAST value that was not
// sent, or bytes.
import { type Reader, violation } from './reader.ts'

/**
 * `bytes` is a view. `unchanged`: a TOAST value that the update left as it was; it is not in the
 * log.
 */
export type PgoutputValue =
  | { readonly kind: 'null' }
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'text'; readonly bytes: Uint8Array }
  | { readonly kind: 'binary'; readonly bytes: Uint8Array }

/** One entry per published column, in the order of the relation's description. */
export type PgoutputTuple = readonly PgoutputValue[]

const nullValue: PgoutputValue = { kind: 'null' }
const unchangedValue: PgoutputValue = { kind: 'unchanged' }
const columnsMax = 1664

/** Reads one TupleData. @throws PgError 08P01 when it does not fit its message. */
export function readTuple(r: Reader): PgoutputTuple {
  const count = r.u16()
  if (count > columnsMax) throw violation(`a row of ${count} columns`)
  const values: PgoutputValue[] = []
  for (let left = count; left > 0; left--) values.push(readValue(r))
  return values
}

function readValue(r: Reader): PgoutputValue {
  const code = r.u8()
  switch (code) {
    case 0x6e:
      return nullValue
    case 0x75:
      return unchangedValue
    case 0x74:
      return { kind: 'text', bytes: r.take(r.i32()) }
    case 0x62:
      return { kind: 'binary', bytes: r.take(r.i32()) }
    default:
      throw violation(`unknown kind of value ${code}`)
  }
}
