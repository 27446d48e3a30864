// What failed logins cost: an address that fails waits longer and longer, nobody else does. And the places of logins.
import { describe, expect, it } from 'vitest'
import type { Clock } from '../../core/clock.ts'
import type { PgError } from '../../core/errors.ts'
import { LoginAdmission } from '../../proxy/login-admission.ts'
import { LoginFailures } from '../../proxy/login-failures.ts'

/** Stands still until it is moved. */
function stoppedClock(): Clock & { move(ms: number): void } {
  let now = 1_000
  return {
    nowMs: () => now,
    after: () => ({ cancel: () => {} }),
    move: (ms) => {
      now += ms
    },
  }
}

const options = { max: 3, windowMs: 60_000, delayMs: 100, delayMsMax: 1_000 }
const bad = '203.0.113.9'

function afterFailures(count: number) {
  const clock = stoppedClock()
  const failures = new LoginFailures(options, clock)
  for (let i = 0; i < count; i += 1) failures.failed(bad, 'anna')
  return { clock, failures }
}

describe('failed logins', () => {
  it('cost nothing as long as there are few', () => {
    const { failures } = afterFailures(2)
    expect([1, 2, 3].map(() => failures.waitFor(bad, 'anna'))).toEqual([0, 0, 0])
  })

  it('put the next ones off, twice as long with each failure, up to a limit', () => {
    const waits = [3, 4, 5, 6, 7, 20].map((count) =>
      afterFailures(count).failures.waitFor(bad, 'x'),
    )
    expect(waits).toEqual([100, 200, 400, 800, 1_000, 1_000])
  })

  it('make logins that come at once take turns; who would wait too long is refused', () => {
    const { clock, failures } = afterFailures(5)
    const waits = [1, 2, 3, 4, 5].map(() => failures.waitFor(bad, 'x'))
    expect(waits).toEqual([400, 800, null, null, null])
    clock.move(500)
    expect(failures.waitFor(bad, 'x')).toBe(700)
    clock.move(10_000)
    expect(failures.waitFor(bad, 'x')).toBe(0)
    expect(failures.waitFor(bad, 'x')).toBe(400)
  })

  it('are forgotten after a while without any', () => {
    const { clock, failures } = afterFailures(9)
    clock.move(60_001)
    expect([1, 2].map(() => failures.waitFor(bad, 'x'))).toEqual([0, 0])
  })

  it('do not hold up other addresses', () => {
    const { failures } = afterFailures(9)
    expect(failures.waitFor('203.0.113.10', 'anna')).toBe(0)
    expect(failures.waitFor('', 'anna')).toBe(0)
  })

  it('do not hold up who has logged in from there since his last failure', () => {
    const { failures } = afterFailures(9)
    failures.succeeded(bad, 'bert')
    expect(failures.waitFor(bad, 'bert')).toBe(0)
    expect(failures.waitFor(bad, 'anna')).toBe(1_000)
    failures.failed(bad, 'bert')
    expect(failures.waitFor(bad, 'bert')).not.toBe(0)
  })

  it('of one IPv6 network of 64 bits count together, and of IPv4 in IPv6 as IPv4', () => {
    const clock = stoppedClock()
    const failures = new LoginFailures(options, clock)
    for (const host of ['2001:db8:0:1::1', '2001:db8:0:1:ffff::2', '2001:db8::1:0:0:0:3']) {
      failures.failed(host, 'x')
    }
    expect(failures.waitFor('2001:db8:0:1:a:b:c:d', 'x')).toBe(100)
    expect(failures.waitFor('2001:db8:0:2::1', 'x')).toBe(0)
    for (let i = 0; i < 3; i += 1) failures.failed(`::ffff:10.0.0.1`, 'x')
    expect(failures.waitFor('10.0.0.1', 'x')).toBe(100)
    expect(failures.waitFor('::ffff:10.0.0.2', 'x')).toBe(0)
  })

  it('with max 0 never cost anything', () => {
    const failures = new LoginFailures({ ...options, max: 0 }, stoppedClock())
    for (let i = 0; i < 50; i += 1) failures.failed(bad, 'x')
    expect(failures.waitFor(bad, 'x')).toBe(0)
  })

  it('of very many addresses are remembered of the latest ones', () => {
    const failures = new LoginFailures(options, stoppedClock())
    for (let i = 0; i < 3; i += 1) failures.failed(bad, 'x')
    for (let i = 0; i < 10_000; i += 1)
      failures.failed(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, 'x')
    expect(failures.waitFor(bad, 'x')).toBe(0)
  })
})

describe('places for logins', () => {
  const login = () => {
    const refusals: PgError[] = []
    return { refusals, refuse: (error: PgError) => void refusals.push(error) }
  }

  it('that are all taken by newcomers are refused to the next one', () => {
    const admission = new LoginAdmission(2, stoppedClock())
    const [first, second, third] = [login(), login(), login()]
    for (const each of [first, second, third]) admission.enter(each)
    expect(third.refusals).toMatchObject([{ sqlstate: '53300', severity: 'FATAL' }])
    expect([first.refusals, second.refusals, admission.size]).toEqual([[], [], 2])
    admission.leave(first)
    const fourth = login()
    admission.enter(fourth)
    expect(fourth.refusals).toEqual([])
  })

  it('are taken from who has sat there longest', () => {
    const clock = stoppedClock()
    const admission = new LoginAdmission(2, clock)
    const [first, second, third] = [login(), login(), login()]
    admission.enter(first)
    clock.move(500)
    admission.enter(second)
    clock.move(600)
    admission.enter(third)
    expect(first.refusals).toMatchObject([{ sqlstate: '53300' }])
    expect([second.refusals, third.refusals, admission.size]).toEqual([[], [], 2])
  })
})
