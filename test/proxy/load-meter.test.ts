// The meter by itself: which keys it finds among many, and that nothing is lost when a report is given back.
import { describe, expect, it } from 'vitest'
import { vnode } from '../../core/ids.ts'
import { LoadMeter } from '../../proxy/load-meter.ts'
import { createRandom } from '../support/random.ts'

function meterOf(seed = 1): LoadMeter {
  const random = createRandom(seed)
  const fraction = () => random.below(1_000_000) / 1_000_000
  return new LoadMeter({ vnodeCount: 4_096, nowMs: () => 0, random: fraction })
}

describe('a load meter', () => {
  it('finds the hottest of 100,000 keys by server time, in few places', () => {
    const meter = meterOf()
    const random = createRandom(7)
    const truth = new Map<string, number>()
    for (let at = 0; at < 200_000; at += 1) {
      // Every tenth statement is of one of 20 hot keys, of which `hot 0` takes longest.
      const hot = random.oneIn(10) ? random.below(20) : -1
      const key = hot < 0 ? `cold ${random.below(100_000)}` : `hot ${hot}`
      const serverMs = hot < 0 ? 0.2 : 10 / (1 + hot)
      if (!meter.takesKey) continue
      truth.set(key, (truth.get(key) ?? 0) + serverMs * 16)
      meter.countKey(key, vnode(1), serverMs)
    }
    const { keys } = meter.take()
    expect(keys.length).toBe(256)
    const hottest = [...keys].sort((a, b) => b.serverMs - a.serverMs).slice(0, 8)
    expect(new Set(hottest.map(({ key }) => key))).toEqual(
      new Set(Array.from({ length: 8 }, (_, at) => `hot ${at}`)),
    )
    for (const { key, serverMs } of keys) {
      expect(serverMs).toBeLessThanOrEqual((truth.get(key) ?? 0) + 1e-6)
    }
  })

  it('chooses one statement in sixteen, without a pattern', () => {
    const meter = meterOf()
    const chosen = Array.from({ length: 160_000 }, () => meter.takesKey)
    const count = chosen.filter(Boolean).length
    expect(count).toBeGreaterThan(9_000)
    expect(count).toBeLessThan(11_000)
    const byPlace = Array.from({ length: 16 }, (_, place) => {
      return chosen.filter((taken, at) => taken && at % 16 === place).length
    })
    expect(Math.min(...byPlace)).toBeGreaterThan(400)
  })

  it('gives everything once, and again what was given back', () => {
    const meter = meterOf()
    meter.count(3, 1.5, 100, 2)
    meter.count(3, 0.5, 50, 1)
    meter.countKey('k', vnode(3), 2)
    const first = meter.take()
    expect(first).toEqual({
      vnodes: [{ vnode: 3, statements: 2, serverMs: 2, bytes: 150, rows: 3 }],
      keys: [{ key: 'k', vnode: 3, statements: 16, serverMs: 32 }],
    })
    expect(meter.take()).toEqual({ vnodes: [], keys: [] })
    meter.giveBack(first)
    meter.count(3, 1, 0, 0)
    meter.countKey('k', vnode(3), 1)
    expect(meter.take()).toEqual({
      vnodes: [{ vnode: 3, statements: 3, serverMs: 3, bytes: 150, rows: 3 }],
      keys: [{ key: 'k', vnode: 3, statements: 32, serverMs: 48 }],
    })
  })
})
