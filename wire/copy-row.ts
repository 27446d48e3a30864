// What the parts of the COPY scanner (wire/copy.ts) have in common: bytes in, rows or an error out.
import { pgError, type PgError } from '../core/errors.ts'

/** Unread bytes; `over`: no more will come. */
export type Unread = {
  readonly bytes: Uint8Array
  readonly start: number
  readonly end: number
  readonly over: boolean
}

/**
 * `bytes`: the whole row with its newline, or a binary tuple; header and end likewise. `key`: the
 * field's unescaped value, in binary its raw bytes; null for NULL, for header and end. `line`: where
 * the row ends, from 1, embedded newlines counted as PostgreSQL does; in binary the row's number.
 */
export type CopyRow = {
  readonly kind: 'row' | 'header' | 'end'
  readonly bytes: Uint8Array
  readonly key: Uint8Array | null
  readonly line: number
}

/** The error for COPY data that cannot be split: 22P04 with the line, unless it is 0, in its detail. */
export function copyError(message: string, line: number, hint?: string): PgError {
  const detail = line > 0 ? { detail: `COPY line ${line}.` } : {}
  return pgError('copyFormat', [message], { ...detail, ...(hint && { hint }) })
}
