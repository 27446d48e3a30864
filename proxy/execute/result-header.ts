// The columns of one result that comes in parts: from several shards, or from a second try. Servers learn of DDL one
// after the other, replicas as late as they are; rows of another shape must not follow the header that was told.
import { decodeRowDescription } from '../../wire/backend.ts'

// Types below are the system's, the same on every server; others have numbers of their own (access/transam.h).
const firstOwnOid = 16_384

export class ResultHeader {
  #columns: string | null = null

  /** False for a RowDescription with other columns than the first one's. */
  accepts(frame: Uint8Array): boolean {
    const columns = decodeRowDescription(frame)
      .map(({ name, typeOid }) => `${name}\0${typeOid < firstOwnOid ? typeOid : ''}`)
      .join('\x01')
    this.#columns ??= columns
    return this.#columns === columns
  }
}
