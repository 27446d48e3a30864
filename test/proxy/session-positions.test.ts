// What a session has written and seen, and the replicas that may serve it: every rule by itself.
import { describe, expect, it } from 'vitest'
import { shardId } from '../../core/ids.ts'
import { lsn } from '../../core/lsn.ts'
import type { Position } from '../../core/position.ts'
import { mayRead, type ObservedHost, SessionPositions } from '../../proxy/session-positions.ts'
import type { Sampled } from './replicated-log.ts'

const s1 = shardId('s1')
const s2 = shardId('s2')

function at(bytes: number, timeline = 1, systemId = '7'): Position {
  return { systemId, timeline, lsn: lsn(BigInt(bytes)) }
}

/** A host whose newest sample was asked at `askedAtMs`. */
function host(id: string, position: Position, askedAtMs = 0, incarnation = 'first'): Sampled {
  const positionAfter = (ms: number) => (askedAtMs > ms ? position : null)
  return { id, incarnation, position, positionAfter }
}

const replica = (id: string, incarnation = 'first'): ObservedHost => {
  return { id, incarnation, primary: false }
}
const primary: ObservedHost = { id: 'p', incarnation: 'first', primary: true }

describe('a session', () => {
  it('that has done nothing may read on any replica', () => {
    expect(mayRead(new SessionPositions().needs(s1), host('r', at(0)))).toBe(true)
  })

  it.each([
    ['may read on a replica at its position', at(100), true],
    ['may read on a replica past its position', at(101), true],
    ['may not read on a replica before its position', at(99), false],
    ['may not read on a replica of another timeline', at(200, 2), false],
    ['may not read on a replica of another cluster', at(200, 1, '8'), false],
  ])('that wrote %s', (_name, position, allowed) => {
    const session = new SessionPositions()
    session.reached(s1, at(100))
    expect(mayRead(session.needs(s1), host('r', position))).toBe(allowed)
    expect(mayRead(session.needs(s2), host('r', position))).toBe(true)
  })

  it.each([
    ['an older write', at(100), at(90), at(100)],
    ['a newer write', at(100), at(110), at(110)],
    ['a write after a promotion that lost others', at(100), at(95, 2), at(95, 2)],
    ['a write before a promotion, told late', at(100, 2), at(110), at(110, 2)],
    ['a write in another cluster', at(100), at(1, 1, '8'), at(1, 1, '8')],
  ])('keeps the furthest of its own: %s', (_name, known, next, result) => {
    const session = new SessionPositions()
    session.reached(s1, known)
    session.reached(s1, next)
    expect(session.needs(s1)).toEqual({ position: result, open: [] })
  })

  it.each([
    ['an older one', at(100), at(90), at(100)],
    ['a newer one', at(100), at(110), at(110)],
    // A replica that replays what lies before the switch may report the timeline after it.
    ['a higher timeline further back', at(100), at(80, 2), at(100, 2)],
    ['a lower timeline further on', at(80, 2), at(100), at(100, 2)],
  ])('takes over both, its own and what a token says: %s', (_name, known, told, result) => {
    const session = new SessionPositions()
    session.reached(s1, known)
    session.merge(new Map([[s1, told]]))
    expect(session.needs(s1)).toEqual({ position: result, open: [] })
  })

  it('reads on the primary after a token of another cluster, until it has seen the primary', () => {
    const session = new SessionPositions()
    session.reached(s1, at(100))
    session.merge(new Map([[s1, at(5, 1, '8')]]))
    session.merge(new Map([[s1, at(60)]]))
    expect(mayRead(session.needs(s1), host('r', at(200)))).toBe(false)
    session.settle(s1, [host('r', at(200), 99), host('p', at(200), 99)])
    expect(mayRead(session.needs(s1), host('r', at(200)))).toBe(false)
    session.observed(s1, primary, 10)
    session.settle(s1, [host('p', at(150), 11)])
    expect(session.needs(s1)).toEqual({ position: at(150), open: [] })
  })
})

describe('a read on a replica', () => {
  const session = () => {
    const positions = new SessionPositions()
    positions.observed(s1, replica('r'), 50)
    return positions
  }

  it.each([
    ['may be followed on that replica', host('r', at(10), 40), true],
    ['may not on that replica restarted', host('r', at(10), 60, 'second'), false],
    ['may not on another replica, however far', host('q', at(1e6), 60), false],
  ])('%s before a sample was asked since', (_name, now, allowed) => {
    const positions = session()
    positions.settle(s1, [host('r', at(10), 50), host('q', at(1e6), 60)])
    expect(mayRead(positions.needs(s1), now)).toBe(allowed)
  })

  it('is followed on any replica past the first sample asked since', () => {
    const positions = session()
    positions.settle(s1, [host('r', at(70), 51)])
    expect(positions.needs(s1)).toEqual({ position: at(70), open: [] })
    expect(mayRead(positions.needs(s1), host('q', at(70)))).toBe(true)
    expect(mayRead(positions.needs(s1), host('q', at(69)))).toBe(false)
  })

  it('is not settled by a sample of the replica after it has restarted', () => {
    const positions = session()
    positions.settle(s1, [host('r', at(70), 60, 'second')])
    expect(positions.snapshot()).toEqual({ positions: new Map(), open: new Set([s1]) })
  })

  it('counts from its end: an earlier end does not set it back', () => {
    const positions = session()
    positions.observed(s1, replica('r'), 45)
    positions.settle(s1, [host('r', at(70), 48)])
    expect(positions.needs(s1).open).toEqual([{ ...replica('r'), sinceMs: 50 }])
  })

  it('of both lives of a replica leaves the primary only', () => {
    const positions = session()
    positions.observed(s1, replica('r', 'second'), 60)
    positions.settle(s1, [host('r', at(70), 70)])
    positions.settle(s1, [host('r', at(70), 70, 'second')])
    expect(mayRead(positions.needs(s1), host('r', at(1e6), 99))).toBe(false)
    expect(mayRead(positions.needs(s1), host('r', at(1e6), 99, 'second'))).toBe(false)
  })

  it('on two replicas leaves the primary only, until one of them is settled', () => {
    const positions = session()
    positions.observed(s1, replica('q'), 50)
    expect(mayRead(positions.needs(s1), host('r', at(99)))).toBe(false)
    expect(mayRead(positions.needs(s1), host('q', at(99)))).toBe(false)
    positions.settle(s1, [host('r', at(70), 60), host('q', at(99), 40)])
    expect(mayRead(positions.needs(s1), host('q', at(70)))).toBe(true)
    expect(mayRead(positions.needs(s1), host('r', at(99)))).toBe(false)
  })

  it('on ever new hosts is remembered within a bound', () => {
    const positions = new SessionPositions()
    for (let n = 0; n < 1000; n += 1) positions.observed(s1, replica(`r${n}`), n)
    expect(positions.needs(s1).open.length).toBeLessThanOrEqual(17)
    for (let n = 0; n < 1000; n += 1) {
      expect(mayRead(positions.needs(s1), host(`r${n}`, at(1e6), 1e6))).toBe(false)
    }
  })
})

describe('a read on the primary', () => {
  it('is followed on a replica only past the first sample of the primary asked since', () => {
    const positions = new SessionPositions()
    positions.observed(s1, primary, 50)
    expect(mayRead(positions.needs(s1), host('r', at(1e6), 60))).toBe(false)
    positions.settle(s1, [host('p', at(100), 60), host('r', at(1e6), 60)])
    expect(mayRead(positions.needs(s1), host('r', at(100)))).toBe(true)
    expect(mayRead(positions.needs(s1), host('r', at(99)))).toBe(false)
  })

  it('takes the place of all reads before it, also of those that nothing can settle', () => {
    const positions = new SessionPositions()
    positions.observed(s1, replica('r'), 10)
    positions.observed(s1, replica('r', 'second'), 20)
    positions.observed(s1, replica('q'), 30)
    positions.observed(s1, primary, 40)
    expect(positions.needs(s1).open).toEqual([{ ...primary, sinceMs: 40 }])
  })
})

describe('the version of what a session knows', () => {
  const session = new SessionPositions()
  it.each<[string, () => void, boolean]>([
    ['grows with a write', () => session.reached(s1, at(100)), true],
    ['stays with what was known', () => session.merge(new Map([[s1, at(90)]])), false],
    ['grows with a read', () => session.observed(s1, replica('r'), 10), true],
    ['stays when nothing can be settled', () => session.settle(s1, [host('r', at(100), 9)]), false],
    ['grows when a read is settled', () => session.settle(s1, [host('r', at(100), 11)]), true],
    ['stays when nothing is open', () => session.settle(s1, [host('r', at(100), 12)]), false],
    ['grows when all is forgotten', () => session.clear(), true],
  ])('%s', (_name, change, grows) => {
    const before = session.version
    change()
    expect(session.version > before).toBe(grows)
  })

  it('is of nothing in the end', () => {
    expect(session.snapshot()).toEqual({ positions: new Map(), open: new Set() })
  })
})
