// Time as an argument: what waits or measures takes a Clock, so that tests and simulation can own time.

/** A pending timer; `cancel` is harmless after it fired. */
export type Timer = { cancel(): void }

export type Clock = {
  /** Monotonic milliseconds since an arbitrary start. */
  readonly nowMs: () => number
  /** Calls `fire` once after `delayMs`; the timer alone does not keep the process alive. */
  readonly after: (delayMs: number, fire: () => void) => Timer
}

/** The machine's own clock. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  after: (delayMs, fire) => {
    const handle = setTimeout(fire, delayMs)
    handle.unref()
    return { cancel: () => clearTimeout(handle) }
  },
}
