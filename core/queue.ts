// A first-in first-out queue with a maximum: every place where work waits has a bound and a name for it.

/** Bounded FIFO with removal from the middle in constant time (waiters leave when their deadline passes). */
export class BoundedQueue<T> {
  readonly #items = new Set<T>()
  readonly sizeMax: number

  constructor(sizeMax: number) {
    this.sizeMax = sizeMax
  }

  get size(): number {
    return this.#items.size
  }

  /** Adds `item` at the end; false when the queue is full and nothing was added. */
  push(item: T): boolean {
    if (this.#items.size >= this.sizeMax) return false
    this.#items.add(item)
    return true
  }

  /** Removes and returns the oldest item; undefined when empty. */
  shift(): T | undefined {
    for (const item of this.#items) {
      this.#items.delete(item)
      return item
    }
    return undefined
  }

  /** Removes `item` wherever it stands; false when it was not there. */
  remove(item: T): boolean {
    return this.#items.delete(item)
  }

  [Symbol.iterator](): IterableIterator<T> {
    return this.#items.values()
  }
}
