// What statements cost the servers, by virtual node, and which keys cost most. On the way of every statement: two
// readings of the clock, a few additions into typed arrays, nothing allocated. Keys are told for one statement in
// about sixteen, and kept by the space-saving algorithm (Metwally, Agrawal, El Abbadi 2005) over server time.
import type { KeyCounts, LoadReport, VnodeCounts } from '../catalog/load-store.ts'
import type { Clock } from '../core/clock.ts'
import { vnode, type Vnode } from '../core/ids.ts'
import { PgError } from '../core/errors.ts'
import { keysOf } from '../router/key-source.ts'
import { keyText } from '../router/moved-set.ts'
import type { Plan } from '../router/plan.ts'
import type { BoundParams, Prepared } from '../router/router.ts'
import type { DatabaseOptions } from './database-options.ts'

/** Mean number of statements per one whose key is told. */
const statementsPerSample = 16
const keysMax = 256
const keyCharactersMax = 256

export type LoadMeterOptions = {
  readonly vnodeCount: number
  readonly nowMs: () => number
  /** From 0 to below 1. */
  readonly random: () => number
}

/** A meter for a database of which load is to be measured; else null. */
export function meterOf(options: DatabaseOptions, { nowMs }: Clock): LoadMeter | null {
  const { rules, measureLoad } = options
  if (rules === null || measureLoad !== true) return null
  return new LoadMeter({ vnodeCount: rules.vnodeCount, nowMs, random: Math.random })
}

/** Counts of one database, of all its sessions. */
export class LoadMeter {
  readonly nowMs: () => number
  readonly #random: () => number
  readonly #statements: Float64Array
  readonly #serverMs: Float64Array
  readonly #bytes: Float64Array
  readonly #rows: Float64Array
  readonly #keys = new HotKeys()
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
    this.#keys.add(key, at, serverMs * statementsPerSample, statementsPerSample)
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
    for (const sums of [this.#statements, this.#serverMs, this.#bytes, this.#rows]) sums.fill(0)
    return { vnodes, keys: this.#keys.take() }
  }

  /** Counts `report` with what comes next. */
  giveBack({ vnodes, keys }: LoadReport): void {
    for (const { vnode: at, statements, serverMs, bytes, rows } of vnodes) {
      this.count(at, serverMs, bytes, rows)
      this.#statements[at] = (this.#statements[at] ?? 0) + statements - 1
    }
    for (const { key, vnode: at, serverMs, statements } of keys) {
      this.#keys.add(key, at, serverMs, statements)
    }
  }
}

/**
 * The keys with the most time among any number, by slot: one that is not among them takes the slot of the least, and
 * its time, as it may have been there before. What is inherited is not reported: a report is never too high.
 */
class HotKeys {
  readonly #slots = new Map<string, number>()
  readonly #names: string[] = []
  readonly #vnodes = new Uint16Array(keysMax)
  readonly #serverMs = new Float64Array(keysMax)
  readonly #inheritedMs = new Float64Array(keysMax)
  readonly #statements = new Float64Array(keysMax)

  add(key: string, at: Vnode, serverMs: number, statements: number): void {
    const slot = this.#slots.get(key) ?? this.#enter(key, at)
    this.#serverMs[slot] = (this.#serverMs[slot] ?? 0) + serverMs
    this.#statements[slot] = (this.#statements[slot] ?? 0) + statements
  }

  take(): readonly KeyCounts[] {
    const counts = this.#names.map((key, slot) => ({
      key,
      vnode: vnode(this.#vnodes[slot] ?? 0),
      statements: this.#statements[slot] ?? 0,
      serverMs: (this.#serverMs[slot] ?? 0) - (this.#inheritedMs[slot] ?? 0),
    }))
    this.#slots.clear()
    this.#names.length = 0
    return counts
  }

  #enter(key: string, at: Vnode): number {
    const isFull = this.#names.length === keysMax
    const slot = isFull ? this.#least() : this.#names.length
    if (isFull) this.#slots.delete(this.#names[slot] ?? '')
    const inheritedMs = isFull ? (this.#serverMs[slot] ?? 0) : 0
    this.#slots.set(key, slot)
    this.#names[slot] = key
    this.#vnodes[slot] = at
    this.#serverMs[slot] = inheritedMs
    this.#inheritedMs[slot] = inheritedMs
    this.#statements[slot] = 0
    return slot
  }

  #least(): number {
    let least = 0
    for (let slot = 1; slot < keysMax; slot += 1) {
      if ((this.#serverMs[slot] ?? 0) < (this.#serverMs[least] ?? 0)) least = slot
    }
    return least
  }
}

/** Statements of one exchange with a server: their time is known when their replies have come. */
export class SessionLoad {
  readonly #meter: LoadMeter
  /** Of each statement, −1 where no key has decided; `#keys` in step. Not shortened, as that would allocate. */
  readonly #vnodes: number[] = [-1]
  readonly #keys: (string | null)[] = [null]
  #count = 0
  #at = 0
  #sinceMs = 0
  #bytes = 0
  #rows = 0

  constructor(meter: LoadMeter) {
    this.#meter = meter
  }

  /** A new exchange. */
  begin(): void {
    this.#count = 0
    this.#at = 0
  }

  /** A statement is about to be sent. */
  add(prepared: Prepared, index: number, plan: Plan, params: BoundParams | null): void {
    if (this.#at === this.#count) {
      this.#sinceMs = this.#meter.nowMs()
      this.#bytes = 0
      this.#rows = 0
    }
    const at = plan.kind === 'single' && plan.vnode !== null ? plan.vnode : -1
    const told = at >= 0 && this.#meter.takesKey
    this.#vnodes[this.#count] = at
    this.#keys[this.#count] = told ? keyOf(prepared, index, params) : null
    this.#count += 1
  }

  /** So many bytes have gone to the client. */
  forwarded(bytes: number): void {
    this.#bytes += bytes
  }

  /** The next statement in order is done; the last one ends with its exchange, as its commit comes first. */
  completed(tag: string): void {
    this.#rows += rowsOf(tag)
    if (this.#at + 1 < this.#count) this.#settle()
  }

  /** The exchange is over; statements that an error has skipped are not counted. */
  end(): void {
    if (this.#at < this.#count) this.#settle()
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
export function rowsOf(tag: string): number {
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
