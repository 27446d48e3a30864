// What is decided about a server that cannot be reached: how long to wait, when to try again, what to say.
import { describe, expect, it } from 'vitest'
import { PgError, pgError } from '../../core/errors.ts'
import { shardId } from '../../core/ids.ts'
import { isOutage, Outage } from '../../pool/outage.ts'

const waitMs = 10_000
const startMs = 5_000
const outage = (wait = waitMs) => new Outage(shardId('s1'), 'it was lost', startMs, wait)
const refused = (reason: string, sqlstate?: string) => {
  const cause = sqlstate === undefined ? undefined : new PgError(reason, { sqlstate })
  return pgError('serverUnreachable', ['s1', reason], { cause })
}

describe('a login that failed', () => {
  it.each([
    ['a network that does not answer', refused('connect ECONNREFUSED 10.0.0.1:5432'), true],
    ['a server that starts', refused('the database system is starting up', '57P03'), true],
    ['a server that stops', refused('the database system is shutting down', '57P03'), true],
    ['a server that was told to stop', refused('terminating connection', '57P01'), true],
    ['a server that restarts after a crash', refused('in recovery mode', '57P02'), true],
    ['a wrong password', refused('password authentication failed', '28P01'), false],
    ['a role that may not log in', refused('no pg_hba.conf entry', '28000'), false],
    ['a database that is not there', refused('database "x" does not exist', '3D000'), false],
    ['a server without free connections', refused('too many clients already', '53300'), false],
    ['an error that is not about connecting', pgError('transactionAborted'), false],
  ])('because of %s', (_, error, passesByItself) => {
    expect(isOutage(error)).toBe(passesByItself)
  })
})

describe('an outage', () => {
  it('is waited for until it has lasted long enough, counted from its beginning', () => {
    const lost = outage()
    expect(lost.isOver(startMs)).toBe(false)
    expect(lost.isOver(startMs + waitMs - 1)).toBe(false)
    expect(lost.isOver(startMs + waitMs)).toBe(true)
    lost.failed(startMs + waitMs, refused('still not there'))
    expect(lost.isOver(startMs + waitMs)).toBe(true)
  })

  it('that nobody waits for is over when it begins', () => {
    expect(outage(0).isOver(startMs)).toBe(true)
  })

  it('is tried at once, then after 50, 100, 200 … 1000 ms', () => {
    const lost = outage()
    const pauses: number[] = []
    let nowMs = startMs
    for (let tries = 0; tries < 7; tries += 1) {
      expect(lost.mayTry(nowMs)).toBe(true)
      lost.failed(nowMs, refused('it is not there'))
      let pauseMs = 0
      while (!lost.mayTry(nowMs + pauseMs)) pauseMs += 1
      pauses.push(pauseMs)
      nowMs += pauseMs
    }
    expect(pauses).toEqual([50, 100, 200, 400, 800, 1_000, 1_000])
  })

  it('is tried at once, and soon again, when something has changed', () => {
    const lost = outage()
    for (let at = 0; at < 5; at += 1) lost.failed(startMs + at, refused('it is not there'))
    expect(lost.mayTry(startMs + 100)).toBe(false)
    lost.retryNow()
    expect(lost.mayTry(startMs + 100)).toBe(true)
    lost.failed(startMs + 100, refused('not yet'))
    expect(lost.mayTry(startMs + 149)).toBe(false)
    expect(lost.mayTry(startMs + 150)).toBe(true)
  })

  it('has something to do at the next try, or at the end of the waiting, whichever is first', () => {
    const lost = outage(120)
    lost.failed(startMs, refused('it is not there'))
    expect(lost.pauseMs(startMs, true)).toBe(50)
    expect(lost.pauseMs(startMs + 20, true)).toBe(30)
    expect(lost.pauseMs(startMs + 100, true)).toBe(1)
    lost.failed(startMs + 100, refused('it is not there'))
    expect(lost.pauseMs(startMs + 100, true)).toBe(20)
    expect(lost.pauseMs(startMs + 100, false)).toBe(20)
  })

  it('is waited for anew after a pause that was asked for; its age stays what it is', () => {
    const lost = outage(1_000)
    lost.waitAnew(startMs + 5_000)
    expect(lost.isOver(startMs + 5_999)).toBe(false)
    expect(lost.pauseMs(startMs + 5_400, false)).toBe(600)
    expect(lost.isOver(startMs + 6_000)).toBe(true)
    expect(lost.error(startMs + 6_000).message).toContain('unreachable for 6.0 s')
  })

  it('is told by the failure itself at first, later with the shard, since when, and why', () => {
    const lost = outage()
    const failure = refused('connect ECONNREFUSED 10.0.0.1:5432')
    lost.failed(startMs, failure)
    expect(lost.error(startMs + 999)).toBe(failure)
    expect(lost.error(startMs + 12_345)).toMatchObject({
      sqlstate: '08001',
      message: expect.stringMatching(
        /^shard "s1" has been unreachable for 12\.3 s: .*ECONNREFUSED/,
      ),
    })
  })

  it('is told in the words of the server when it has said something', () => {
    const lost = outage()
    lost.failed(startMs, refused('the database system is starting up', '57P03'))
    const { message } = lost.error(startMs + 2_000)
    expect(message).toBe(
      'shard "s1" has been unreachable for 2.0 s: the database system is starting up',
    )
  })

  it('without a single try is told with the reason it began with', () => {
    expect(outage().error(startMs).message).toBe(
      'shard "s1" has been unreachable for 0.0 s: it was lost',
    )
  })
})
