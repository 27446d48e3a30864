// What statements cost the servers, by virtual node, and which keys cost most. On the way of every statement: two readings of
// the clock, a few additions into typed arrays, nothing allocated. Keys are told for one statement in about
// sixteen, and kept by the space-saving algorithm (Metwally, Agrawal, El Abbadi 2005) over server time.
import type { KeyCounts, LoadReport, VnodeCounts } from '../catalog/load-store.ts'
import { vnode, type Vnode } from '../core/ids.ts'
import { PgError } from '../core/errors.ts'
import { keysOf } from '../router/key-source.ts'
import { keyText } from '../router/moved-set.ts'
import type { Plan } from '../router/plan.ts'
import type { BoundParams, Prepared } from '../router/router.ts'

/** Mean number of statements per one whose key is told. */
const statementsPerSample = 16
const keysMax = 256
const keyCharactersMax = 256

type KeyEntry = {
  readonly vnode: Vnode
  serverMs: number
  statements: number
  /** Of `serverMs`, what may have been another key's. */
  readonly inherited: number
}

export type LoadMeterOptions = {
  readonly vnodeCount: number
  readonly nowMs: () => number
  /** From 0 to below 1. */
  readonly random: () => number
}

/** Counts of one database, of all its sessions. */
export class LoadMeter {
  readonly nowMs: () => number
  readonly #random: () => number
  readonly #statements: Float64Array
  readonly #serverMs: Float64Array
  readonly #bytes: Float64Array
  readonly #rows: Float64Array
  readonly #keys = new Map<string, KeyEntry>()
  #untilSample = 1

  constructor({ vnodeCount, nowMs, random }: LoadMeterOptions) {
    this.nowMs = nowMs
    this.#random = random
    this.#statements = new Float64Array(vnodeCount)
    this.#serverMs = new Float64Array(vnodeCount)
    this.#bytes = new Float64Array(vnodeCount)
    this.#rows = new Float64Array(vnodeCount)
  }

  /** One statement. */
  count(at: number, serverMs: number, bytes: number, rows: number): void {
    this.#statements[at] = (this.#statements[at] ?? 0) + 1
    this.#serverMs[at] = (this.#serverMs[at] ?? 0) + serverMs
    this.#bytes[at] = (this.#bytes[at] ?? 0) + bytes
    this.#rows[at] = (this.#rows[at] ?? 0) + rows
  }

  /** True for the statements whose key is to be told; a chance, so that no pattern of a client escapes it. */
  get takesKey(): boolean {
    this.#untilSample -= 1
    if (this.#untilSample > 0) return false
    this.#untilSample = 1 + Math.floor(this.#random() * (2 * statementsPerSample - 1))
    return true
  }

  /** A statement of those that `takesKey` has chosen. */
  countKey(key: string, at: Vnode, serverMs: number): void {
    this.#addKey(key, at, serverMs * statementsPerSample, statementsPerSample)
  }

  /** All that was counted since the last time; the caller gives it back when it cannot be kept. */
  take(): LoadReport {
    const vnodes: VnodeCounts[] = []
    for (const [at, statements] of this.#statements.entries()) {
      if (statements === 0) continue
      vnodes.push({
        vnode: vnode(at),
        statements,
        serverMs: this.#serverMs[at] ?? 0,
        bytes: this.#bytes[at] ?? 0,
        rows: this.#rows[at] ?? 0,
      })
    }
    const keys: KeyCounts[] = []
    for (const [key, { vnode: at, serverMs, statements, inherited }] of this.#keys) {
      keys.push({ key, vnode: at, serverMs: serverMs - inherited, statements })
    }
    for (const sums of [this.#statements, this.#serverMs, this.#bytes, this.#rows]) sums.fill(0)
    this.#keys.clear()
    return { vnodes, keys }
  }

  /** Counts `report` with what comes next. */
  giveBack({ vnodes, keys }: LoadReport): void {
    for (const { vnode: at, statements, serverMs, bytes, rows } of vnodes) {
      this.count(at, serverMs, bytes, rows)
      this.#statements[at] = (this.#statements[at] ?? 0) + statements - 1
    }
    for (const { key, vnode: at, serverMs, statements } of keys) {
      this.#addKey(key, at, serverMs, statements)
    }
  }

  #addKey(key: string, at: Vnode, serverMs: number, statements: number): void {
    const known = this.#keys.get(key)
    if (known !== undefined) {
      known.serverMs += serverMs
      known.statements += statements
      return
    }
    const inherited = this.#keys.size < keysMax ? 0 : this.#dropLeast()
    this.#keys.set(key, { vnode: at, serverMs: inherited + serverMs, statements, inherited })
  }

  /** Makes room for a key, which may have been there before: it takes over the time of the one that goes. */
  #dropLeast(): number {
    let least = Number.POSITIVE_INFINITY
    let name = ''
    for (const [key, { serverMs }] of this.#keys) {
      if (serverMs >= least) continue
      least = serverMs
      name = key
    }
    this.#keys.delete(name)
    return least
  }
}

/** Statements of one exchange with a server: their time is known when their replies have come. */
export class SessionLoad {
  readonly #meter: LoadMeter
  /** Of each statement in order, −1 where no key has decided; `#keys` in step. */
  readonly #vnodes: number[] = []
  readonly #keys: (string | null)[] = []
  #at = 0
  #sinceMs = 0
  #bytes = 0
  #rows = 0

  constructor(meter: LoadMeter) {
    this.#meter = meter
  }

  /** A new exchange. */
  begin(): void {
    this.#vnodes.length = 0
    this.#keys.length = 0
    this.#at = 0
  }

  /** A statement is about to be sent. */
  add(prepared: Prepared, index: number, plan: Plan, params: BoundParams | null): void {
    if (this.#at === this.#vnodes.length) {
      this.#sinceMs = this.#meter.nowMs()
      this.#bytes = 0
      this.#rows = 0
    }
    const at = plan.kind === 'single' && plan.vnode !== null ? plan.vnode : -1
    const told = at >= 0 && this.#meter.takesKey
    this.#vnodes.push(at)
    this.#keys.push(told ? keyOf(prepared, index, params) : null)
  }

  /** So many bytes have gone to the client. */
  forwarded(bytes: number): void {
    this.#bytes += bytes
  }

  /** The next statement in order is done; the last one ends with its exchange, as its commit comes first. */
  completed(tag: string): void {
    this.#rows += rowsOf(tag)
    if (this.#at + 1 < this.#vnodes.length) this.#settle()
  }

  /** The exchange is over; statements that an error has skipped are not counted. */
  end(): void {
    if (this.#at < this.#vnodes.length) this.#settle()
    this.begin()
  }

  #settle(): void {
    const nowMs = this.#meter.nowMs()
    const at = this.#vnodes[this.#at] ?? -1
    const key = this.#keys[this.#at] ?? null
    this.#at += 1
    if (at >= 0) {
      const serverMs = nowMs - this.#sinceMs
      this.#meter.count(at, serverMs, this.#bytes, this.#rows)
      if (key !== null) this.#meter.countKey(key, vnode(at), serverMs)
    }
    this.#sinceMs = nowMs
    this.#bytes = 0
    this.#rows = 0
  }
}

/** The one key of the statement, as `keyText` writes it; null where there are several, or it is a long text. */
function keyOf(prepared: Prepared, index: number, params: BoundParams | null): string | null {
  const route = prepared.statements[index]?.route
  if (route?.kind !== 'key') return null
  for (const { source } of route.covers) {
    const keys = keysOf(source, { literals: prepared.literals, params })
    if (keys instanceof PgError || keys.values.length !== 1) continue
    const [key] = keys.values
    const text = key === undefined ? '' : keyText(key)
    return text.length > keyCharactersMax ? null : text
  }
  return null
}

/** The number at the end of a command tag, such as 3 of `INSERT 0 3`; 0 without one. */
function rowsOf(tag: string): number {
  let rows = 0
  let unit = 1
  for (let at = tag.length - 1; at >= 0; at -= 1) {
    const digit = tag.charCodeAt(at) - 48
    if (digit < 0 || digit > 9) break
    rows += digit * unit
    unit *= 10
  }
  return rows
}
