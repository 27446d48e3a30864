// Which statements are known to be fast.
import { describe, expect, it } from 'vitest'
import { Pace, Paces } from '../../pool/pace.ts'

const prompt = { late: false, bytes: 100 }
const late = { late: true, bytes: 100 }
const minuteMs = 60_000

function fastPace(): Pace {
  const pace = new Pace()
  for (let run = 0; run < 3; run += 1) pace.ran(prompt, 0)
  return pace
}

describe('the pace of a statement', () => {
  it('is known after a few prompt runs', () => {
    const pace = new Pace()
    expect([pace.isFast, pace.mayTry(0)]).toEqual([false, true])
    pace.ran(prompt, 0)
    pace.ran(prompt, 0)
    expect(pace.isFast).toBe(false)
    pace.ran(prompt, 0)
    expect(pace.isFast).toBe(true)
  })

  it('is not found out by runs that are mostly late', () => {
    const pace = new Pace()
    for (const run of [late, prompt, late, prompt]) pace.ran(run, 0)
    expect([pace.isFast, pace.mayTry(0)]).toEqual([false, true])
    pace.ran(late, 0)
    expect(pace.mayTry(4_000)).toBe(false)
    expect(pace.mayTry(6_000)).toBe(true)
  })

  it('forgives what any server does now and then', () => {
    const pace = fastPace()
    for (let run = 0; run < 1_000; run += 1) pace.ran(run % 10 === 0 ? late : prompt, 0)
    expect(pace.isFast).toBe(true)
  })

  it('is slow once many runs were, and is left alone for longer each time', () => {
    const pace = fastPace()
    const slowDown = (nowMs: number) => {
      for (let run = 0; run < 10 && pace.mayTry(nowMs); run += 1) pace.ran(late, nowMs)
    }
    slowDown(0)
    expect([pace.isFast, pace.mayTry(4_999), pace.mayTry(5_000)]).toEqual([false, false, true])
    slowDown(6_000)
    expect([pace.mayTry(15_999), pace.mayTry(16_000)]).toEqual([false, true])
    slowDown(17_000)
    expect([pace.mayTry(36_999), pace.mayTry(37_000)]).toEqual([false, true])
    // It has been fast for long.
    slowDown(37_000 + 2 * minuteMs)
    expect(pace.mayTry(42_000 + 2 * minuteMs)).toBe(true)
  })

  it('is slow at once with a large answer', () => {
    const pace = fastPace()
    pace.ran({ late: false, bytes: 100_000 }, 0)
    expect([pace.isFast, pace.mayTry(0)]).toEqual([false, false])
  })

  it('belongs to one shape', () => {
    const paces = new Paces()
    const [one, other] = [{}, {}]
    expect(paces.of(one)).toBe(paces.of(one))
    expect(paces.of(one)).not.toBe(paces.of(other))
  })
})
