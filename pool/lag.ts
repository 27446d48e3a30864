// How far a replica is behind, told without any server's clock: the primary's flushed positions are
// noted with our own time, and a replica is as late as the moment when the primary first passed
// what the replica has replayed. Flushed, not inserted: the tail that nobody has committed stays
// on the primary for seconds, and a replica that cannot have it yet is not late.
import type { Lsn } from '../core/lsn.ts'

/** `ms`: since when the primary has had more than the replica. Both 0 when it has all. */
export type Lag = { readonly bytes: bigint; readonly ms: number }

type Entry = {
  /** No position in (previous entry's `lsn`, `lsn`] was passed before. */
  readonly sinceMs: number
  readonly lsn: Lsn
}

/** No lag. */
export const noLag: Lag = { bytes: 0n, ms: 0 }

const entriesMax = 256

/** Where the primary has been, oldest first; bounded, the older the coarser. */
export class WalHistory {
  #entries: Entry[] = []

  /** The primary was at `lsn` at `atMs`. A lower position than before: what is above was lost. */
  note(lsn: Lsn, atMs: number): void {
    const kept = this.#entries.findLastIndex((entry) => entry.lsn <= lsn)
    this.#entries.length = kept + 1
    if (this.#entries[kept]?.lsn === lsn) return
    this.#entries.push({ sinceMs: atMs, lsn })
    if (this.#entries.length > entriesMax) this.#thin()
  }

  /** Of a server that has replayed up to `lsn`. Before the first note: none. */
  lag(lsn: Lsn, nowMs: number): Lag {
    const newest = this.#entries.at(-1)
    if (newest === undefined || lsn >= newest.lsn) return noLag
    return { bytes: newest.lsn - lsn, ms: Math.max(0, nowMs - this.#passedAtMs(lsn)) }
  }

  #passedAtMs(lsn: Lsn): number {
    let low = 0
    let high = this.#entries.length - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#entries[middle]?.lsn ?? lsn) > lsn) high = middle
      else low = middle + 1
    }
    return this.#entries[low]?.sinceMs ?? 0
  }

  /** Halves the older half: two entries become one that errs towards more lag, never less. */
  #thin(): void {
    const half = this.#entries.length >> 1
    const thinned: Entry[] = []
    for (let at = 0; at < half; at += 2) {
      const first = this.#entries[at]
      const second = this.#entries[Math.min(at + 1, half - 1)]
      if (first === undefined || second === undefined) break
      thinned.push({ sinceMs: first.sinceMs, lsn: second.lsn })
    }
    this.#entries = [...thinned, ...this.#entries.slice(half)]
  }
}
