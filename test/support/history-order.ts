// When each version of each key was committed, as far as clients can tell: not before its write was invoked, and not
// after the first answer that knew of it. A version's writer is known from its own answer, or from a read that saw its
// value when the writer itself was never told.
import { assert } from '../../core/assert.ts'
import type { History } from './history.ts'

/** Versions and attempts of a history; indexes of operations where it says "writer". */
export class VersionOrder {
  readonly #history: History
  /** Where the versions of a key begin in the arrays below; one more entry than keys. */
  readonly #offset: Int32Array
  readonly #writer: Int32Array
  readonly #lower: Float64Array
  readonly #upper: Float64Array
  /** Operation that tried to write a value; −1: nobody did. */
  readonly #attempt: Int32Array
  /** Version at which the value of an attempt was seen first; −1: never. */
  readonly #versionOf: Int32Array

  constructor(history: History) {
    this.#history = history
    this.#offset = offsets(history)
    const total = this.#offset.at(-1) ?? 0
    this.#writer = new Int32Array(total).fill(-1)
    this.#lower = new Float64Array(total).fill(Number.NEGATIVE_INFINITY)
    this.#upper = new Float64Array(total).fill(Number.POSITIVE_INFINITY)
    this.#attempt = new Int32Array(history.valueMax + 1).fill(-1)
    this.#versionOf = new Int32Array(history.valueMax + 1).fill(-1)
    this.#findAttempts()
    this.#findWriters()
    this.#bound()
  }

  /** Operation that tried to write `value`; −1: nobody did. */
  attempt(value: number): number {
    return this.#attempt[value] ?? -1
  }

  /** Operation that made that version; −1 when nobody knows, and for version 0. */
  writer(key: number, version: number): number {
    return this.#writer[this.#slot(key, version)] ?? -1
  }

  /** Version that a write made: what it was told, else what others saw of it; −1: nobody knows. */
  madeBy(write: number): number {
    const told = this.#history.version(write)
    return told >= 0 ? told : (this.#versionOf[this.#history.value(write)] ?? -1)
  }

  /** Not committed before. */
  lower(key: number, version: number): number {
    return this.#lower[this.#slot(key, version)] ?? Number.NEGATIVE_INFINITY
  }

  /** Not committed after; infinite for versions that nobody has seen. */
  upper(key: number, version: number): number {
    return this.#upper[this.#slot(key, version)] ?? Number.POSITIVE_INFINITY
  }

  /** −1 for what nobody has seen. */
  #slot(key: number, version: number): number {
    const begin = this.#offset[key] ?? 0
    const end = this.#offset[key + 1] ?? 0
    return version < 0 || begin + version >= end ? -1 : begin + version
  }

  #findAttempts(): void {
    const history = this.#history
    for (let index = 0; index < history.size; index += 1) {
      if (!history.isWrite(index)) continue
      const value = history.value(index)
      assert(this.attempt(value) < 0, `the value ${value} is written by one attempt only`)
      this.#attempt[value] = index
    }
  }

  #findWriters(): void {
    const history = this.#history
    for (let index = 0; index < history.size; index += 1) {
      if (history.isHandover(index) || history.version(index) < 1) continue
      const version = history.version(index)
      const writer = this.attempt(history.value(index))
      if (writer < 0 || history.key(writer) !== history.key(index)) continue
      const slot = this.#slot(history.key(index), version)
      // What a writer was told itself counts more than what others say.
      if (this.#writer[slot] === -1 || writer === index) this.#writer[slot] = writer
      if (this.#versionOf[history.value(index)] === -1) {
        this.#versionOf[history.value(index)] = version
      }
    }
  }

  #bound(): void {
    const history = this.#history
    for (let index = 0; index < history.size; index += 1) {
      if (history.isHandover(index) || !history.isOk(index) || history.version(index) < 0) continue
      const slot = this.#slot(history.key(index), history.version(index))
      this.#upper[slot] = Math.min(this.#upper[slot] ?? 0, history.returnedMs(index))
    }
    for (let key = 0; key <= history.keyMax; key += 1) this.#boundKey(key)
  }

  /** A version is younger than those before it, and older than those after it. */
  #boundKey(key: number): void {
    const begin = this.#offset[key] ?? 0
    const end = this.#offset[key + 1] ?? 0
    let lower = Number.NEGATIVE_INFINITY
    for (let slot = begin; slot < end; slot += 1) {
      const writer = this.#writer[slot] ?? -1
      if (writer >= 0) lower = Math.max(lower, this.#history.invokedMs(writer))
      this.#lower[slot] = lower
    }
    let upper = Number.POSITIVE_INFINITY
    for (let slot = end - 1; slot >= begin; slot -= 1) {
      upper = Math.min(upper, this.#upper[slot] ?? upper)
      this.#upper[slot] = upper
    }
  }
}

const versionsMax = 50_000_000

function offsets(history: History): Int32Array {
  const versionMax = new Int32Array(history.keyMax + 1)
  for (let index = 0; index < history.size; index += 1) {
    if (history.isHandover(index)) continue
    const key = history.key(index)
    versionMax[key] = Math.max(versionMax[key] ?? 0, history.version(index))
  }
  const offset = new Int32Array(versionMax.length + 1)
  let total = 0
  versionMax.forEach((version, key) => {
    offset[key] = total
    total += version + 1
    assert(total < versionsMax, 'versions are counted up by one')
  })
  offset[versionMax.length] = total
  return offset
}
