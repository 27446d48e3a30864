// How often a time was how long: counts by powers of two of microseconds in one typed array, so that adding one is a
// shift and an addition. Prometheus is given cumulative counts on scrape.

/** 2^5 µs = 32 µs … 2^25 µs = 34 s; the last bucket has everything longer. */
const firstPower = 5
const lastPower = 25
const bucketCount = lastPower - firstPower + 2

/** Upper bounds of the buckets but the last, seconds. */
export const bucketSeconds: readonly number[] = Array.from(
  { length: bucketCount - 1 },
  (_, at) => 2 ** (firstPower + at) / 1e6,
)

export class Histogram {
  readonly #counts = new Float64Array(bucketCount)
  #sumUs = 0

  add(us: number): void {
    this.#sumUs += us
    // Position of the highest bit of the microseconds that are above zero: 2^n itself belongs to the bucket up to 2^n.
    const power = us <= 1 ? 0 : 32 - Math.clz32(Math.min(Math.ceil(us), 2 ** 31) - 1)
    const at = Math.min(Math.max(power - firstPower, 0), bucketCount - 1)
    this.#counts[at] = (this.#counts[at] ?? 0) + 1
  }

  get count(): number {
    return this.#counts.reduce((sum, count) => sum + count, 0)
  }

  get sumSeconds(): number {
    return this.#sumUs / 1e6
  }

  /** Times up to each of `bucketSeconds`, in step with it. */
  cumulative(): readonly number[] {
    let sum = 0
    return bucketSeconds.map((_, at) => {
      sum += this.#counts[at] ?? 0
      return sum
    })
  }
}
