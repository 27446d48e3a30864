// When copying has to wait: the arithmetic, and the throttle under a clock of the test's own.
import { describe, expect, it } from 'vitest'
import type { Clock } from '../../core/clock.ts'
import { Throttle } from '../../rebalancer/throttle.ts'
import {
  admit,
  pauseReason,
  type Readings,
  smoothed,
  type ThrottleLimits,
  unlimited,
} from '../../rebalancer/throttle-verdict.ts'

const quiet: Readings = { lags: [], latencyMs: 1, baselineMs: 1 }
const never = new AbortController().signal

function behind(bytes: number, ms: number | null): Readings {
  return { ...quiet, lags: [{ shard: 'target', replica: 'r1', bytes, ms }] }
}

const verdicts: readonly {
  readonly what: string
  readonly readings: Readings
  readonly limits: Partial<ThrottleLimits>
  readonly paused?: boolean
  readonly reason: string | null
}[] = [
  { what: 'no bound', readings: behind(1e12, 1e9), limits: {}, reason: null },
  {
    what: 'a lag at its bound',
    readings: behind(100, null),
    limits: { lagBytesMax: 100 },
    reason: null,
  },
  {
    what: 'a lag in bytes above its bound',
    readings: behind(101, null),
    limits: { lagBytesMax: 100 },
    reason: 'replica "r1" of the target is 101 bytes behind (bound: 100)',
  },
  {
    what: 'a lag in time above its bound',
    readings: behind(0, 1500.4),
    limits: { lagMsMax: 1000 },
    reason: 'replica "r1" of the target is 1500 ms behind (bound: 1000)',
  },
  {
    what: 'a lag in time that nobody knows',
    readings: behind(0, null),
    limits: { lagMsMax: 1 },
    reason: null,
  },
  {
    what: 'a lag that has fallen a little, in a pause',
    readings: behind(90, null),
    limits: { lagBytesMax: 100 },
    paused: true,
    reason: 'replica "r1" of the target is 90 bytes behind (bound: 100)',
  },
  {
    what: 'a lag that has fallen enough, in a pause',
    readings: behind(80, null),
    limits: { lagBytesMax: 100 },
    paused: true,
    reason: null,
  },
  {
    what: 'a source that takes 1.5 times as long',
    readings: { ...quiet, baselineMs: 10, latencyMs: 15.1 },
    limits: { latencyRatioMax: 1.5 },
    reason: 'the source answers in 15.1 ms (bound: 15.0)',
  },
  {
    what: 'a quick source that takes half a millisecond more',
    readings: { ...quiet, baselineMs: 0.1, latencyMs: 0.6 },
    limits: { latencyRatioMax: 1.5 },
    reason: null,
  },
  {
    what: 'a source that is a little quicker again, in a pause',
    readings: { ...quiet, baselineMs: 10, latencyMs: 14.5 },
    limits: { latencyRatioMax: 1.5 },
    paused: true,
    reason: 'the source answers in 14.5 ms (bound: 15.0)',
  },
]

describe('whether copying pauses', () => {
  it.each(verdicts)('is decided for $what', ({ readings, limits, paused = false, reason }) => {
    expect(pauseReason(readings, { ...unlimited, ...limits }, paused)).toBe(reason)
  })
})

describe('a bound on bytes per second', () => {
  it('lets bytes pass that later ones pay for', () => {
    const first = admit(1000, 0, { ms: 5000, bytes: 2000 })
    expect(first).toEqual({ freeAtMs: 7000, waitMs: 0 })
    const second = admit(1000, first.freeAtMs, { ms: 5500, bytes: 100 })
    expect(second).toEqual({ freeAtMs: 7100, waitMs: 1500 })
    expect(admit(1000, second.freeAtMs, { ms: 9000, bytes: 100 }).waitMs).toBe(0)
  })
})

describe('a smoothed latency', () => {
  it('moves to what is measured, and forgets one slow answer', () => {
    let meanMs = 1
    for (let times = 0; times < 20; times += 1) meanMs = smoothed(meanMs, 10)
    expect(meanMs).toBeGreaterThan(9.5)
    expect(smoothed(1, 10)).toBeLessThan(3)
  })
})

describe('a throttle', () => {
  it('holds several workers to one rate together', async () => {
    const time = new TestTime()
    const throttle = new Throttle({ ...unlimited, bytesPerSecondMax: 1_000_000 }, time)
    let passed = 0
    const worker = async () => {
      while (time.nowMs() < 10_000) {
        await throttle.pass(50_000, never)
        passed += 50_000
      }
    }
    await time.run(Promise.all([worker(), worker(), worker()]))
    expect(passed).toBeGreaterThan(9_800_000)
    expect(passed).toBeLessThan(10_300_000)
  })

  it('gives small pieces one after the other under a bound, and holds the bound', async () => {
    const time = new TestTime()
    const throttle = new Throttle({ ...unlimited, bytesPerSecondMax: 1_000_000 }, time)
    const worked: { begunMs: number; endedMs: number }[] = []
    const worker = async () => {
      while (time.nowMs() < 10_000) {
        using _turn = await throttle.turn(never)
        const begunMs = time.nowMs()
        await throttle.pass(throttle.pieceBytesMax, never)
        await new Promise<void>((resolve) => {
          time.after(20, resolve)
        })
        worked.push({ begunMs, endedMs: time.nowMs() })
      }
    }
    await time.run(Promise.all([worker(), worker(), worker()]))
    for (const [index, { begunMs }] of worked.entries()) {
      expect(begunMs).toBeGreaterThanOrEqual(worked[index - 1]?.endedMs ?? 0)
    }
    const bytes = worked.length * throttle.pieceBytesMax
    expect(bytes).toBeGreaterThan(9_800_000)
    expect(bytes).toBeLessThan(10_300_000)
  })

  it('lets several work at once where one could not reach the bound', async () => {
    const time = new TestTime()
    const throttle = new Throttle({ ...unlimited, bytesPerSecondMax: 1_000_000 }, time)
    let pieces = 0
    const worker = async () => {
      while (time.nowMs() < 10_000) {
        using _turn = await throttle.turn(never)
        await throttle.pass(throttle.pieceBytesMax, never)
        await new Promise<void>((resolve) => {
          time.after(60, resolve)
        })
        pieces += 1
      }
    }
    await time.run(Promise.all([worker(), worker(), worker()]))
    expect(pieces * throttle.pieceBytesMax).toBeGreaterThan(9_000_000)
  })

  it('gives the next one its turn when a piece failed, and forgets who stopped waiting', async () => {
    const time = new TestTime()
    const throttle = new Throttle({ ...unlimited, bytesPerSecondMax: 1_000 }, time)
    const failing = async () => {
      using _turn = await throttle.turn(never)
      await time.settle()
      throw new Error('the piece failed')
    }
    const stopping = new AbortController()
    const failed = failing()
    const stopped = throttle.turn(stopping.signal)
    stopping.abort(new Error('told to stop'))
    await expect(stopped).rejects.toThrow('told to stop')
    await expect(failed).rejects.toThrow('the piece failed')
    using _turn = await throttle.turn(never)
    expect(time.nowMs()).toBe(0)
  })

  it('stands still while a bound is exceeded, says why and since when, and goes on', async () => {
    const time = new TestTime()
    const throttle = new Throttle({ ...unlimited, lagBytesMax: 100 }, time)
    throttle.observe(behind(50, null))
    await throttle.pass(1e9, never)
    time.advance(1000)
    throttle.observe(behind(500, null))
    time.advance(1000)
    throttle.observe(behind(200, null))
    const reason = 'replica "r1" of the target is 200 bytes behind (bound: 100)'
    expect(throttle.state).toEqual({ kind: 'paused', reason, sinceMs: 1000 })
    const passing = throttle.pass(0, never).then(() => time.nowMs())
    await time.settle()
    throttle.observe(behind(90, null))
    time.advance(500)
    await time.settle()
    expect(throttle.state.kind).toBe('paused')
    throttle.observe(behind(10, null))
    expect(throttle.state).toEqual({ kind: 'running' })
    expect(await time.run(passing)).toBeLessThan(2_700)
  })

  it('stands still when servers fall silent, until they are heard or not asked', async () => {
    const time = new TestTime()
    const throttle = new Throttle(unlimited, time)
    expect(throttle.state.kind).toBe('running')
    throttle.observe(quiet)
    time.advance(6_000)
    expect(throttle.state).toMatchObject({
      kind: 'paused',
      reason: 'the servers have not answered for 6 s',
    })
    throttle.observe(quiet)
    expect(throttle.state.kind).toBe('running')
    time.advance(60_000)
    expect(throttle.state.kind).toBe('paused')
    throttle.unobserve()
    expect(throttle.state.kind).toBe('running')
  })

  it('stops waiting when told to', async () => {
    const time = new TestTime()
    const throttle = new Throttle({ ...unlimited, lagBytesMax: 1 }, time)
    throttle.observe(behind(2, null))
    const stopping = new AbortController()
    const passing = throttle.pass(0, stopping.signal)
    await time.settle()
    stopping.abort(new Error('told to stop'))
    await expect(passing).rejects.toThrow('told to stop')
    await expect(throttle.pass(0, stopping.signal)).rejects.toThrow('told to stop')
  })
})

type Waiting = { readonly atMs: number; readonly fire: () => void }

/** Time that passes when the test says so, or as fast as everybody waits. */
class TestTime implements Clock {
  #ms = 0
  readonly #waiting = new Set<Waiting>()

  readonly nowMs = () => this.#ms

  readonly after: Clock['after'] = (delayMs, fire) => {
    const waiting = { atMs: this.#ms + delayMs, fire }
    this.#waiting.add(waiting)
    return { cancel: () => this.#waiting.delete(waiting) }
  }

  advance(ms: number): void {
    this.#ms += ms
    for (const waiting of this.#waiting) {
      if (waiting.atMs > this.#ms) continue
      this.#waiting.delete(waiting)
      waiting.fire()
    }
  }

  /** Lets everybody run who does not wait for time. */
  async settle(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
  }

  /** Lets time pass until `promise` resolves. */
  async run<T>(promise: Promise<T>): Promise<T> {
    const done = new AbortController()
    const end = promise.finally(() => done.abort())
    for (let turns = 0; !done.signal.aborted && turns < 10_000; turns += 1) {
      await this.settle()
      const next = Math.min(...[...this.#waiting].map(({ atMs }) => atMs))
      if (Number.isFinite(next)) this.advance(Math.max(0, next - this.#ms))
    }
    return await end
  }
}
