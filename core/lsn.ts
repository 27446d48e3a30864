// Places in the write-ahead log. PostgreSQL writes them as two hexadecimal halves, `16/B374D848` (manual, pg_lsn).

/** Byte position in a cluster's write-ahead log, unsigned 64 bits. */
export type Lsn = bigint & { readonly __brand: 'Lsn' }

/** Brands a byte position; the caller has checked its range. */
export const lsn = (bytes: bigint): Lsn => bytes as Lsn

const written = /^([0-9a-f]{1,8})\/([0-9a-f]{1,8})$/i

/** The LSN that PostgreSQL writes as `text`; undefined when it is none. */
export function parseLsn(text: string): Lsn | undefined {
  const [, high, low] = written.exec(text) ?? []
  if (high === undefined || low === undefined) return undefined
  return lsn((BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`))
}

/** As PostgreSQL writes it. */
export function formatLsn(position: Lsn): string {
  const low = position & 0xffffffffn
  return `${(position >> 32n).toString(16).toUpperCase()}/${low.toString(16).toUpperCase()}`
}
