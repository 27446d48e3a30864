// Latencies in buckets of 1 % width: a run of hours takes as little memory as one of seconds.

const growth = 1.01
const leastMs = 0.001
const bucketCount = 2_400

/** Quantiles are within 1 % of the measured value; mean, count and maximum are exact. */
export class LatencyHistogram {
  readonly #buckets = new Float64Array(bucketCount)
  #count = 0
  #sum = 0
  #max = 0

  add(ms: number): void {
    const bucket = Math.ceil(Math.log(Math.max(ms, leastMs) / leastMs) / Math.log(growth))
    const at = Math.min(bucketCount - 1, bucket)
    this.#buckets[at] = (this.#buckets[at] ?? 0) + 1
    this.#count += 1
    this.#sum += ms
    this.#max = Math.max(this.#max, ms)
  }

  get count(): number {
    return this.#count
  }

  /** 0 when nothing was added, like the others. */
  get mean(): number {
    return this.#count === 0 ? 0 : this.#sum / this.#count
  }

  get max(): number {
    return this.#max
  }

  /** `part` from 0 to 1. */
  quantile(part: number): number {
    const rank = Math.max(1, Math.ceil(part * this.#count))
    let seen = 0
    for (const [at, count] of this.#buckets.entries()) {
      seen += count
      if (seen >= rank) return Math.min(this.#max, leastMs * growth ** at)
    }
    return this.#max
  }
}
