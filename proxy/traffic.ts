// What clients and servers of one database have done since the proxy began: plain numbers that sessions add to on
// their way, read when somebody asks. The counts mean what PgBouncer's SHOW STATS means by them.
import { Histogram } from './histogram.ts'

/** Kinds of statements by where they run, as the histograms tell them apart. */
export const statementClasses = ['single', 'scatter', 'everywhere', 'copy', 'session'] as const
export type StatementClass = (typeof statementClasses)[number]

/** A reading of all counts, in the order of `countNames`. */
export type TrafficReading = readonly number[]

const sqlstatesMax = 200
const otherSqlstates = 'other'

/** Counts of one database; times are microseconds. */
export class Traffic {
  /** Times that a client was given a server. */
  assignments = 0
  /** Transactions begun; a statement outside of one is one. */
  transactions = 0
  /** Simple queries and pipelines up to Sync. */
  queries = 0
  /** From and to clients. */
  receivedBytes = 0
  sentBytes = 0
  transactionUs = 0
  queryUs = 0
  /** Told once the server is there. */
  waitUs = 0
  /** Of named statements: Parse of clients, Parse sent to servers, Bind. */
  clientParses = 0
  serverParses = 0
  binds = 0
  /** Waits that have ended with a server. */
  waits = 0
  /** How long clients wait for the answer, by class; the wait for a server counts. */
  readonly clientTimes: Readonly<Record<StatementClass, Histogram>> = newHistograms()
  readonly waitTimes = new Histogram()
  /** Errors that servers have answered with, by SQLSTATE. */
  readonly errors = new Map<string, number>()
  readonly #serverTimes = new Map<string, Histogram>()
  #olderAtMs: number
  #older: TrafficReading
  #newerAtMs: number
  #newer: TrafficReading

  constructor(nowMs: number) {
    this.#olderAtMs = nowMs
    this.#newerAtMs = nowMs
    this.#older = this.read()
    this.#newer = this.#older
  }

  /** How long the servers of one shard work for one statement or pipeline. */
  serverTimes(shard: string): Histogram {
    const known = this.#serverTimes.get(shard)
    if (known !== undefined) return known
    const times = new Histogram()
    this.#serverTimes.set(shard, times)
    return times
  }

  get timesByShard(): ReadonlyMap<string, Histogram> {
    return this.#serverTimes
  }

  /** A program may raise errors of any SQLSTATE: beyond so many they are counted together. */
  countError(sqlstate: string): void {
    const isKnown = this.errors.has(sqlstate) || this.errors.size < sqlstatesMax
    const name = isKnown ? sqlstate : otherSqlstates
    this.errors.set(name, (this.errors.get(name) ?? 0) + 1)
  }

  read(): TrafficReading {
    return [
      this.assignments,
      this.transactions,
      this.queries,
      this.receivedBytes,
      this.sentBytes,
      Math.round(this.transactionUs),
      Math.round(this.queryUs),
      Math.round(this.waitUs),
      this.clientParses,
      this.serverParses,
      this.binds,
    ]
  }

  /** A period is over: averages are over the last whole one and what has come since. */
  turnPeriod(nowMs: number): void {
    this.#olderAtMs = this.#newerAtMs
    this.#older = this.#newer
    this.#newerAtMs = nowMs
    this.#newer = this.read()
  }

  /** What has come since the beginning of the last whole period, and how long that is. */
  recent(nowMs: number): { readonly grown: TrafficReading; readonly ms: number } {
    const now = this.read()
    const grown = now.map((count, at) => count - (this.#older[at] ?? 0))
    return { grown, ms: nowMs - this.#olderAtMs }
  }
}

function newHistograms(): Readonly<Record<StatementClass, Histogram>> {
  return {
    single: new Histogram(),
    scatter: new Histogram(),
    everywhere: new Histogram(),
    copy: new Histogram(),
    session: new Histogram(),
  }
}
