// Lag from the primary's past: exact while it is remembered, never less than the truth after that.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { lsn } from '../../core/lsn.ts'
import { WalHistory } from '../../pool/lag.ts'

/** Positions noted at times 10, 20, 30, … */
function historyOf(...positions: readonly bigint[]): WalHistory {
  const history = new WalHistory()
  positions.forEach((at, index) => history.note(lsn(at), (index + 1) * 10))
  return history
}

describe('lag', () => {
  it('is unknown, and so none, before the primary was seen', () => {
    expect(new WalHistory().lag(lsn(5n), 100)).toEqual({ bytes: 0n, ms: 0 })
  })

  it.each([
    ['all is replayed', 300n, 0n, 0],
    ['more than was seen of the primary', 400n, 0n, 0],
    ['the last step is missing', 299n, 1n, 70],
    ['the step before too', 199n, 101n, 80],
    ['exactly the second step was replayed', 200n, 100n, 70],
    ['less than was ever seen', 50n, 250n, 90],
  ])('%s', (_, replayed, bytes, ms) => {
    expect(historyOf(100n, 200n, 300n).lag(lsn(replayed), 100)).toEqual({ bytes, ms })
  })

  it('counts from the first moment at a position, not from the last', () => {
    expect(historyOf(100n, 200n, 200n, 200n).lag(lsn(150n), 100).ms).toBe(80)
  })

  it('forgets what a failover has lost', () => {
    const history = historyOf(100n, 200n, 300n, 150n)
    expect(history.lag(lsn(150n), 100)).toEqual({ bytes: 0n, ms: 0 })
    expect(history.lag(lsn(120n), 100)).toEqual({ bytes: 30n, ms: 60 })
  })

  it('is never less than the truth after ten thousand positions, nor much more for late ones', () => {
    const count = 10_000
    const history = new WalHistory()
    for (let step = 1; step <= count; step += 1) history.note(lsn(BigInt(step)), step)
    fc.assert(
      fc.property(fc.integer({ min: 1, max: count - 1 }), (replayed) => {
        // Position n was reached at n: whoever has n is late since n + 1.
        const trueMs = count - (replayed + 1)
        const { bytes, ms } = history.lag(lsn(BigInt(replayed)), count)
        expect(bytes).toBe(BigInt(count - replayed))
        expect(ms).toBeGreaterThanOrEqual(trueMs)
        // The last hundred are remembered one by one.
        expect(ms).toBeLessThanOrEqual(trueMs < 100 ? trueMs : count)
      }),
    )
  })
})
