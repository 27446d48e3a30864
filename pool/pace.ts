// How fast the statements of one shape are, as far as has been seen: only what is known to be fast may have others wait
// behind it. Pure; times are the caller's.

// What takes that long to send has the next one wait just as well.
const resultBytesMax = 64 * 1024
const trialRuns = 3
// Share of late runs, faded over some runs. Any server is late now and then, a busy one more often.
const lateShareMax = 0.3
const fading = 1 / 16
const quietMsMin = 5_000
const quietMsMax = 300_000
// Who was fast for so many times as long as it was left alone is no wavering shape.
const steadyFactor = 4

/** One run: whether it kept others waiting for longer than usual, and how many bytes came of it. */
export type Run = { readonly late: boolean; readonly bytes: number }

/** The recent runs of one shape on one database. */
export class Pace {
  #prompt = 0
  #late = 0
  #lateShare = 0
  #untilMs = 0
  /** How long it was left alone when it was slow last. */
  #quietMs = 0

  /** Seen to be fast: others may be sent behind it. */
  get isFast(): boolean {
    return this.#prompt >= trialRuns && this.#prompt > this.#late
  }

  /** False while it is left alone after it was slow. */
  mayTry(nowMs: number): boolean {
    return nowMs >= this.#untilMs
  }

  /** It was answered. */
  ran({ late, bytes }: Run, nowMs: number): void {
    if (bytes > resultBytesMax) return this.#leave(nowMs)
    if (this.isFast) {
      this.#lateShare += ((late ? 1 : 0) - this.#lateShare) * fading
      if (this.#lateShare > lateShareMax) this.#leave(nowMs)
    } else if (late) {
      this.#late += 1
      if (this.#late >= trialRuns && this.#late > this.#prompt) this.#leave(nowMs)
    } else {
      this.#prompt += 1
    }
  }

  #leave(nowMs: number): void {
    this.#prompt = 0
    this.#late = 0
    this.#lateShare = 0
    const wasSteady = nowMs - this.#untilMs > this.#quietMs * steadyFactor
    const longer = Math.min(this.#quietMs * 2, quietMsMax)
    this.#quietMs = wasSteady ? quietMsMin : Math.max(longer, quietMsMin)
    this.#untilMs = nowMs + this.#quietMs
  }
}

/** The paces of a database's statements, by what stands for their shape; forgotten with it. */
export class Paces {
  readonly #paces = new WeakMap<object, Pace>()

  of(shape: object): Pace {
    const known = this.#paces.get(shape)
    if (known !== undefined) return known
    const pace = new Pace()
    this.#paces.set(shape, pace)
    return pace
  }
}
