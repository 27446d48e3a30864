// A binary heap of offers by cost, for the search in cover.ts.
import type { Offer } from './cover.ts'

/** The cheapest offer first, of equals the one with the lower index. */
export class CheapestFirst {
  readonly #heap: Offer[] = []

  /** Adds an offer. */
  push(offer: Offer): void {
    const heap = this.#heap
    let at = heap.push(offer) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!this.#less(at, parent)) return
      this.#swap(at, parent)
      at = parent
    }
  }

  /** The cheapest that `isFree`; those before it that are not are dropped for good. */
  first(isFree: (offer: Offer) => boolean): Offer | undefined {
    for (;;) {
      const top = this.#heap[0]
      if (top === undefined || isFree(top)) return top
      this.#dropFirst()
    }
  }

  #dropFirst(): void {
    const heap = this.#heap
    this.#swap(0, heap.length - 1)
    heap.pop()
    let at = 0
    for (;;) {
      const left = 2 * at + 1
      const right = left + 1
      let least = at
      if (this.#less(left, least)) least = left
      if (this.#less(right, least)) least = right
      if (least === at) return
      this.#swap(at, least)
      at = least
    }
  }

  /** False also when there is nothing at `a`. */
  #less(a: number, b: number): boolean {
    const one = this.#heap[a]
    const other = this.#heap[b]
    if (one === undefined || other === undefined) return false
    return one.cost < other.cost || (one.cost === other.cost && one.index < other.index)
  }

  #swap(a: number, b: number): void {
    const one = this.#heap[a]
    const other = this.#heap[b]
    if (one === undefined || other === undefined) return
    this.#heap[a] = other
    this.#heap[b] = one
  }
}
