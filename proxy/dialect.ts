// Whether the client's servers may read its SQL otherwise than the proxy does: with `standard_conforming_strings` off, a
// backslash in '…' takes the next quote away; in some encodings the last byte of a character looks like a backslash.
// Without a backslash in its text a statement means the same to both.
import type { Prepared } from '../router/router.ts'

/** Encodings of clients in which the second byte of a character may be that of a backslash (manual, 23.3.1). */
const ambiguous = new Set(['BIG5', 'GB18030', 'GBK', 'JOHAB', 'SHIFT_JIS_2004', 'SJIS', 'UHC'])
const leavesState = /\b(?:set|set_config|prepare|listen|load|setseed|dblink_connect)\b/i

/** Of one session, by what its servers have reported. */
export class Dialect {
  #escapes = false
  #isAmbiguous = false

  /** True while a backslash may mean something else to the servers. */
  get differs(): boolean {
    return this.#escapes || this.#isAmbiguous
  }

  /** A parameter has that value now. */
  note(name: string, value: string): void {
    if (name === 'standard_conforming_strings') this.#escapes = value === 'off'
    if (name === 'client_encoding') this.#isAmbiguous = ambiguous.has(value.toUpperCase())
  }

  /** True when the servers may see other statements in the text than we do. */
  doubts({ statements }: Prepared): boolean {
    return this.differs && statements.some(({ sql }) => sql.includes('\\'))
  }
}

/** True for a text that may hide what nobody can look up afterwards. */
export function mayLeaveState(sql: string): boolean {
  return leavesState.test(sql)
}
