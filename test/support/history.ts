// What clients did to registers, written down for the checkers (history-*.ts). A register is a key with a version that
// the database counts up by one with every write, so the order of a key's writes is known from the answers. Every
// attempt to write stores a value that no other attempt stores, so a read tells which attempt it saw. Columns of
// numbers instead of objects: a million operations are 50 MB.
import { assert } from '../../core/assert.ts'

/** What a client was told: done, certainly not done, or nothing that it could rely on. */
export type Outcome = 'ok' | 'failed' | 'unknown'

/** Which server answered. */
export type Place = 'primary' | 'replica' | 'unknown'

export type Operation = {
  /** The logical session, whatever connection carries it; −1: none. */
  readonly session: number
  readonly kind: 'read' | 'write'
  readonly key: number
  /** Seen or made; 0 is the state before any write, −1: the client was not told. */
  readonly version: number
  /** Of a write its attempt, unique and above 0; of a read what it saw, 0 before any write. */
  readonly value: number
  /** Monotonic; the operation took effect between the two, unless its outcome is unknown. */
  readonly invokedMs: number
  readonly returnedMs: number
  readonly outcome: Outcome
  readonly place: Place
}

/** The token of one session is merged into another: what `from` knew at `invokedMs`, `to` knows at `returnedMs`. */
export type Handover = {
  readonly from: number
  readonly to: number
  readonly invokedMs: number
  readonly returnedMs: number
}

/** As the columns hold them. */
const kinds = { read: 0, write: 1, handover: 2 } as const

const outcomes: readonly Outcome[] = ['ok', 'failed', 'unknown']
const places: readonly Place[] = ['unknown', 'primary', 'replica']
const firstCapacity = 1024

/** An append-only list of operations and handovers. */
export class History {
  #size = 0
  #session = new Int32Array(firstCapacity)
  #kind = new Uint8Array(firstCapacity)
  #key = new Int32Array(firstCapacity)
  #version = new Int32Array(firstCapacity)
  #value = new Int32Array(firstCapacity)
  #invoked = new Float64Array(firstCapacity)
  #returned = new Float64Array(firstCapacity)
  #outcome = new Uint8Array(firstCapacity)
  #place = new Uint8Array(firstCapacity)
  /** Largest key of an operation, −1 without any. */
  keyMax = -1
  valueMax = 0

  get size(): number {
    return this.#size
  }

  add(operation: Operation): number {
    const at = this.#claim(operation.invokedMs, operation.returnedMs)
    const { session, kind, key, version, value, outcome, place } = operation
    assert(key >= 0 && value >= 0 && version >= -1, 'keys, values and versions are counted from 0')
    this.#session[at] = session
    this.#kind[at] = kinds[kind]
    this.#key[at] = key
    this.#version[at] = version
    this.#value[at] = value
    this.#outcome[at] = outcomes.indexOf(outcome)
    this.#place[at] = places.indexOf(place)
    this.keyMax = Math.max(this.keyMax, key)
    this.valueMax = Math.max(this.valueMax, value)
    return at
  }

  handOver({ from, to, invokedMs, returnedMs }: Handover): number {
    const at = this.#claim(invokedMs, returnedMs)
    this.#session[at] = to
    this.#kind[at] = kinds.handover
    this.#key[at] = from
    this.#version[at] = -1
    return at
  }

  /** The operation, for printing; handovers have none. */
  at(index: number): Operation {
    assert(!this.isHandover(index), 'a handover is no operation')
    return {
      session: this.session(index),
      kind: this.isWrite(index) ? 'write' : 'read',
      key: this.key(index),
      version: this.version(index),
      value: this.value(index),
      invokedMs: this.invokedMs(index),
      returnedMs: this.returnedMs(index),
      outcome: outcomes[this.#outcome[index] ?? 0] ?? 'unknown',
      place: places[this.#place[index] ?? 0] ?? 'unknown',
    }
  }

  isWrite(index: number): boolean {
    return this.#kind[index] === kinds.write
  }

  isRead(index: number): boolean {
    return this.#kind[index] === kinds.read
  }

  isHandover(index: number): boolean {
    return this.#kind[index] === kinds.handover
  }

  /** Of a handover the session that takes. */
  session(index: number): number {
    return this.#session[index] ?? -1
  }

  /** Of a handover the session that gives. */
  key(index: number): number {
    return this.#key[index] ?? -1
  }

  version(index: number): number {
    return this.#version[index] ?? -1
  }

  value(index: number): number {
    return this.#value[index] ?? 0
  }

  invokedMs(index: number): number {
    return this.#invoked[index] ?? 0
  }

  returnedMs(index: number): number {
    return this.#returned[index] ?? 0
  }

  isOk(index: number): boolean {
    return this.#outcome[index] === 0
  }

  isFailed(index: number): boolean {
    return this.#outcome[index] === 1
  }

  isOnPrimary(index: number): boolean {
    return this.#place[index] === 1
  }

  /** All indexes in the order of `timeOf`. */
  sortedBy(timeOf: (index: number) => number): Int32Array {
    const order = Int32Array.from({ length: this.#size }, (_, index) => index)
    return order.sort((a, b) => timeOf(a) - timeOf(b) || a - b)
  }

  #claim(invokedMs: number, returnedMs: number): number {
    assert(invokedMs <= returnedMs, 'an operation returns after it was invoked')
    const at = this.#size
    if (at === this.#session.length) this.#grow()
    this.#invoked[at] = invokedMs
    this.#returned[at] = returnedMs
    this.#size += 1
    return at
  }

  #grow(): void {
    const capacity = this.#session.length * 2
    const grown = <T extends Int32Array | Uint8Array | Float64Array>(into: T, from: T): T => {
      into.set(from)
      return into
    }
    this.#session = grown(new Int32Array(capacity), this.#session)
    this.#kind = grown(new Uint8Array(capacity), this.#kind)
    this.#key = grown(new Int32Array(capacity), this.#key)
    this.#version = grown(new Int32Array(capacity), this.#version)
    this.#value = grown(new Int32Array(capacity), this.#value)
    this.#invoked = grown(new Float64Array(capacity), this.#invoked)
    this.#returned = grown(new Float64Array(capacity), this.#returned)
    this.#outcome = grown(new Uint8Array(capacity), this.#outcome)
    this.#place = grown(new Uint8Array(capacity), this.#place)
  }
}
