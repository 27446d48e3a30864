// Which server gets a read: the rules one by one, and the shares of the load in a seeded simulation.
import { describe, expect, it } from 'vitest'
import {
  type Candidate,
  chooseHost,
  LatencyMeter,
  ReadBreaker,
  tooSlow,
} from '../../pool/balance.ts'
import { createRandom } from '../support/random.ts'

type Named = Candidate & { readonly id: string }

function candidate(id: string, traits: Partial<Candidate> = {}): Named {
  return { id, zone: null, weight: 1, latencyMs: 1, inFlight: 0, ...traits }
}

/** How often each is chosen, over a grid of all that `random` may say. */
function choices(from: readonly Named[], zone: string | null = null): Record<string, number> {
  const counts = Object.fromEntries(from.map(({ id }) => [id, 0]))
  for (let first = 0; first < 60; first += 1) {
    for (let second = 0; second < 60; second += 1) {
      const said = [first / 60, second / 60]
      const chosen = chooseHost(from, zone, () => said.shift() ?? Number.NaN)
      if (chosen !== undefined) counts[chosen.id] = (counts[chosen.id] ?? 0) + 1
    }
  }
  return counts
}

function meterAt(ms: number, nowMs: number): LatencyMeter {
  const meter = new LatencyMeter()
  meter.observe(ms, nowMs)
  return meter
}

describe('the choice of a server', () => {
  it('is none among none, and the only one among one, whatever its cost', () => {
    expect(chooseHost([], 'a', Math.random)).toBeUndefined()
    const only = candidate('only', { latencyMs: 1e9, inFlight: 1e6 })
    expect(chooseHost([only], 'a', Math.random)).toBe(only)
  })

  it.each<[string, Partial<Candidate>, Partial<Candidate>]>([
    ['the faster one', { latencyMs: 1 }, { latencyMs: 2 }],
    ['the one with less to do', { inFlight: 3 }, { inFlight: 4 }],
    ['the slower one when the faster has more to do', { latencyMs: 3 }, { inFlight: 3 }],
    ['the one with more weight', { weight: 2 }, { weight: 1 }],
    ['the one with more to do for its weight', { weight: 4, inFlight: 2 }, { weight: 1 }],
    ['the one that was never asked', { latencyMs: 0 }, { latencyMs: 0.01 }],
    [
      'not the one that is asked for the first time',
      { latencyMs: 50, inFlight: 3 },
      { latencyMs: 0, inFlight: 1 },
    ],
  ])('of two is %s', (_name, better, worse) => {
    const from = [candidate('better', better), candidate('worse', worse)]
    expect(choices(from)).toEqual({ better: 3600, worse: 0 })
    expect(choices([...from].reverse())).toEqual({ better: 3600, worse: 0 })
  })

  it('compares two at random: each pair as often as any other', () => {
    const from = [1, 2, 3, 4].map((latencyMs) => candidate(`${latencyMs} ms`, { latencyMs }))
    // Of the 6 pairs the best is the better one in 3, the next in 2, the third in 1.
    expect(choices(from)).toEqual({ '1 ms': 1800, '2 ms': 1200, '3 ms': 600, '4 ms': 0 })
  })

  it('stays in our own zone as long as a server is there', () => {
    const from = [
      candidate('far', { zone: 'b' }),
      candidate('slow', { zone: 'a', latencyMs: 100 }),
      candidate('somewhere'),
      candidate('slower', { zone: 'a', latencyMs: 200 }),
    ]
    expect(choices(from, 'a')).toEqual({ slow: 3600, slower: 0, far: 0, somewhere: 0 })
    expect(choices(from.slice(0, 3), 'a')).toEqual({ slow: 3600, far: 0, somewhere: 0 })
  })

  it('takes the other zones together when none is in ours', () => {
    const from = [candidate('b', { zone: 'b' }), candidate('c', { zone: 'c' }), candidate('?')]
    expect(choices(from, 'a')).toEqual(choices(from))
    expect(Math.min(...Object.values(choices(from, 'a')))).toBeGreaterThan(0)
  })
})

describe('a latency meter', () => {
  it('is 0 before the first read', () => {
    expect(new LatencyMeter().latencyMs(5)).toBe(0)
  })

  it('jumps up to a peak at once and comes down from it by the time constant of 10 s', () => {
    const meter = meterAt(1, 0)
    meter.observe(100, 1)
    expect(meter.latencyMs(1)).toBe(100)
    meter.observe(1, 2)
    expect(meter.latencyMs(2)).toBeGreaterThan(99.9)
    for (let ms = 3; ms <= 10_001; ms += 1) meter.observe(1, ms)
    expect(meter.latencyMs(10_001)).toBeCloseTo(1 + 99 / Math.E, 1)
    for (let ms = 10_002; ms <= 100_000; ms += 10) meter.observe(1, ms)
    expect(meter.latencyMs(100_000)).toBeCloseTo(1, 1)
  })

  it('fades without reads, so that a server that was slow is tried again', () => {
    const meter = meterAt(100, 0)
    expect(meter.latencyMs(10_000)).toBeCloseTo(100 / Math.E)
    expect(meter.latencyMs(200_000)).toBeLessThan(0.001)
  })

  it('takes reads that are told late as they come', () => {
    const meter = meterAt(100, 1000)
    meter.observe(1, 500)
    expect(meter.latencyMs(1000)).toBe(100)
    expect(meter.latencyMs(500)).toBe(100)
  })
})

describe('a read', () => {
  it.each<[string, number, readonly number[], boolean]>([
    ['is not too slow up to 1 s, however fast others are', 1000, [1, 1], false],
    ['is too slow past 1 s and 20 times the others', 1001, [1, 1], true],
    ['is not too slow where all are slow', 1999, [100, 100], false],
    ['is too slow past 20 times the median', 2001, [1, 100, 9999], true],
    ['is measured by the middle of two', 2100, [10, 200], false],
    ['is not too slow where there is nothing to compare with', 1e6, [], false],
  ])('%s', (_name, ms, others, slow) => {
    const meters = others.map((other) => meterAt(other, 7))
    expect(tooSlow(ms, meters, 7)).toBe(slow)
  })
})

describe('a breaker', () => {
  const broken = (nowMs: number) => {
    const breaker = new ReadBreaker()
    for (let n = 0; n < 5; n += 1) breaker.failed(nowMs)
    return breaker
  }

  it('opens after 5 failures in a row, not before', () => {
    const breaker = new ReadBreaker()
    for (let round = 0; round < 3; round += 1) {
      for (let n = 0; n < 4; n += 1) breaker.failed(0)
      expect([breaker.state, breaker.allows(0)]).toEqual(['closed', true])
      if (round < 2) breaker.succeeded()
    }
    breaker.failed(0)
    expect([breaker.state, breaker.allows(0)]).toEqual(['open', false])
  })

  it('lets one probe through after a second, and closes when it succeeds', () => {
    const breaker = broken(100)
    expect(breaker.allows(1099)).toBe(false)
    expect(breaker.allows(1100)).toBe(true)
    breaker.began(1100)
    expect([breaker.state, breaker.allows(1101)]).toEqual(['halfOpen', false])
    breaker.succeeded()
    expect([breaker.state, breaker.allows(1102)]).toEqual(['closed', true])
    breaker.failed(1103)
    expect(breaker.state).toBe('closed')
  })

  it('stays open for twice as long after every failed probe, up to 30 s', () => {
    const breaker = broken(0)
    let nowMs = 0
    for (const openMs of [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
      expect(breaker.allows(nowMs + openMs - 1)).toBe(false)
      nowMs += openMs
      expect(breaker.allows(nowMs)).toBe(true)
      breaker.began(nowMs)
      breaker.failed(nowMs)
    }
    expect(breaker.state).toBe('open')
  })

  it('begins with a second again once it was closed', () => {
    const breaker = broken(0)
    breaker.began(1000)
    breaker.failed(1000)
    breaker.began(3000)
    breaker.succeeded()
    for (let n = 0; n < 5; n += 1) breaker.failed(5000)
    expect([breaker.allows(5999), breaker.allows(6000)]).toEqual([false, true])
  })

  it('is not moved by reads that were sent before it opened', () => {
    const breaker = broken(0)
    breaker.succeeded()
    breaker.failed(500)
    expect([breaker.state, breaker.allows(999), breaker.allows(1000)]).toEqual([
      'open',
      false,
      true,
    ])
  })

  it('gives up a probe of which nothing is heard', () => {
    const breaker = broken(0)
    breaker.began(1000)
    expect([breaker.allows(1999), breaker.allows(2000)]).toEqual([false, true])
    breaker.began(2000)
    expect(breaker.allows(2001)).toBe(false)
  })
})

describe('the shares of the load', () => {
  const seed = Date.now() % 1e9

  /** A server slows down with what it has to do, as one with 4 processors would. */
  type Server = {
    meter: LatencyMeter
    inFlight: number
    served: number
    baseMs: number
    weight: number
  }
  const server = (baseMs: number, weight = 1): Server => {
    return { meter: new LatencyMeter(), inFlight: 0, served: 0, baseMs, weight }
  }

  /** Sends a read each millisecond, from `fromMs` to `toMs`. */
  function run(servers: readonly Server[], fromMs: number, toMs: number): number[] {
    const random = createRandom(seed)
    const fraction = () => random.below(1 << 30) / (1 << 30)
    const ends: { atMs: number; tookMs: number; by: Server }[] = []
    for (const one of servers) one.served = 0
    for (let nowMs = fromMs; nowMs < toMs; nowMs += 1) {
      for (const end of ends.filter(({ atMs }) => atMs <= nowMs)) {
        end.by.meter.observe(end.tookMs, end.atMs)
        end.by.inFlight -= 1
        ends.splice(ends.indexOf(end), 1)
      }
      const from = servers.map((by, n) => {
        const latencyMs = by.meter.latencyMs(nowMs)
        return { id: n, by, zone: null, weight: by.weight, latencyMs, inFlight: by.inFlight }
      })
      const by = chooseHost(from, null, fraction)?.by
      if (by === undefined) throw new Error('no server')
      by.inFlight += 1
      by.served += 1
      const tookMs = by.baseMs * Math.max(1, by.inFlight / 4) * (0.5 + fraction())
      ends.push({ atMs: nowMs + tookMs, tookMs, by })
    }
    return servers.map(({ served }) => served / (toMs - fromMs))
  }

  it('follow the speed of the servers, and nobody goes without', () => {
    const shares = run([server(4), server(8), server(16)], 0, 30_000)
    const [fast = 0, middle = 0, slow = 0] = shares
    expect(fast, `seed ${seed}: ${shares.join()}`).toBeGreaterThan(middle)
    expect(middle, `seed ${seed}: ${shares.join()}`).toBeGreaterThan(slow)
    expect(slow, `seed ${seed}: ${shares.join()}`).toBeGreaterThan(0.01)
  })

  it('of equal servers follow their weights', () => {
    const shares = run([server(8, 1), server(8, 2), server(8, 4)], 0, 30_000)
    const [light = 0, middle = 0, heavy = 0] = shares
    expect(heavy, `seed ${seed}: ${shares.join()}`).toBeGreaterThan(middle)
    expect(middle, `seed ${seed}: ${shares.join()}`).toBeGreaterThan(light)
  })

  it('shrink at once for a server that turns slow, and come back when it has recovered', () => {
    const ill = server(8)
    const servers = [ill, server(8), server(8)]
    const [before = 0] = run(servers, 0, 20_000)
    ill.baseMs = 400
    const [during = 0] = run(servers, 20_000, 40_000)
    ill.baseMs = 8
    run(servers, 40_000, 100_000)
    const [after = 0] = run(servers, 100_000, 120_000)
    expect(before, `seed ${seed}`).toBeGreaterThan(0.25)
    expect(during, `seed ${seed}`).toBeLessThan(0.02)
    expect(after, `seed ${seed}`).toBeGreaterThan(0.25)
  })
})
