// What the rows must look like, whatever happens: every commit of a client is told here at its instant, and reads are held
// against it. A read is right if what it shows was true at some instant between its call and its return: with the commits
// as the points of the writes that is linearizability (Herlihy and Wing 1990).
import type { Environment } from './environment.ts'
import type { Row, Value } from './rows.ts'

type Version = { readonly sinceMs: number; readonly value: Value }

/** From a statement's call to its return. */
export type Interval = { readonly fromMs: number; readonly toMs: number }

export class Oracle {
  readonly #environment: Environment
  readonly #versions = new Map<Row, Version[]>()
  readonly counts = { commits: 0, reads: 0, scatters: 0 }

  constructor(environment: Environment, initial: ReadonlyMap<Row, Value>) {
    this.#environment = environment
    for (const [row, value] of initial) this.#versions.set(row, [{ sinceMs: -1, value }])
  }

  /** A client's transaction has been committed on a shard. */
  committed(row: Row, change: { before: Value; after: Value; shard: string; owner: string }): void {
    const { scheduler, violate } = this.#environment
    const { before, after, shard, owner } = change
    if (shard !== owner) violate(`${row.name} was written on ${shard}, it is of ${owner}`)
    const versions = this.#of(row)
    const last = versions.at(-1)?.value ?? null
    if (last !== before) {
      violate(`a write of ${row.name} on ${shard} found ${show(before)} instead of ${show(last)}`)
    }
    versions.push({ sinceMs: scheduler.nowMs, value: after })
    this.counts.commits += 1
  }

  /** A statement has shown `value`. */
  read(row: Row, value: Value, interval: Interval): void {
    this.counts.reads += 1
    if (this.#wasTrue(row, value, interval)) return
    this.#environment.violate(
      `a read of ${row.name} showed ${show(value)}; true were ${this.#shown(row, interval)}`,
    )
  }

  /** A statement has read a whole table: what every shard has shown, row by row. */
  scattered(
    rows: readonly Row[],
    parts: readonly ReadonlyMap<Row, Value>[],
    interval: Interval,
  ): void {
    this.counts.scatters += 1
    for (const row of rows) {
      const found = parts.map((part) => part.get(row) ?? null).filter((value) => value !== null)
      if (found.length > 1) {
        this.#environment.violate(`a scattered read counted ${row.name} ${found.length} times`)
      }
      const value = found[0] ?? null
      if (this.#wasTrue(row, value, interval)) continue
      this.#environment.violate(
        `a scattered read showed ${show(value)} for ${row.name}; true were ${this.#shown(row, interval)}`,
      )
    }
  }

  /** What the row has to be now. */
  now(row: Row): Value {
    return this.#of(row).at(-1)?.value ?? null
  }

  #wasTrue(row: Row, value: Value, interval: Interval): boolean {
    return this.#during(row, interval).some((version) => version.value === value)
  }

  #during(row: Row, { fromMs, toMs }: Interval): readonly Version[] {
    const versions = this.#of(row)
    let first = versions.length - 1
    while (first > 0 && (versions[first]?.sinceMs ?? 0) > fromMs) first -= 1
    return versions.slice(first).filter(({ sinceMs }) => sinceMs <= toMs)
  }

  #shown(row: Row, interval: Interval): string {
    return this.#during(row, interval)
      .map(({ value }) => show(value))
      .join(', ')
  }

  #of(row: Row): Version[] {
    let versions = this.#versions.get(row)
    if (versions === undefined) {
      versions = [{ sinceMs: -1, value: null }]
      this.#versions.set(row, versions)
    }
    return versions
  }
}

/** For a message. */
export function show(value: Value): string {
  return value === null ? 'nothing' : `[${value.slice(-3).join(' ')}]/${value.length}`
}
