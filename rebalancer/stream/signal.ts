// Wakes the one loop that waits for something to have changed; what has changed it looks up for
// itself.

/** A notification that is remembered until it is waited for. */
export class Signal {
  #notified = false
  #wake: (() => void) | null = null

  /** Ends the wait under way, or else the next one at once. */
  notify(): void {
    const wake = this.#wake
    if (wake === null) this.#notified = true
    this.#wake = null
    wake?.()
  }

  /**
   * Resolves at the next notify(), or at once after one that nobody waited for. One waiter at a
   * time.
   */
  wait(): Promise<void> {
    if (this.#notified) {
      this.#notified = false
      return Promise.resolve()
    }
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }
}
