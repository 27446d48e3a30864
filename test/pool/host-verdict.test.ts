// The monitor's decisions, as tables: who is primary, what a failed look means, how long to rest.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Candidate,
  downPauseMs,
  failureKind,
  judge,
  type Past,
  pauseMsMax,
  samplePauseMs,
  secondWay,
} from '../../pool/host-verdict.ts'

const server = (id: string, over: Partial<Candidate> = {}): Candidate => ({
  id,
  role: 'replica',
  systemId: '7',
  timeline: 1,
  disowned: false,
  ...over,
})
const primary = (id: string, timeline = 1, over: Partial<Candidate> = {}) =>
  server(id, { role: 'primary', timeline, ...over })
const past = (over: Partial<Past> = {}): Past => ({
  followed: null,
  systemId: '7',
  timelines: new Map([['7', 1]]),
  ...over,
})
const upTo = (timeline: number) => new Map([['7', timeline]])

describe('who is primary', () => {
  const cases: readonly [string, readonly Candidate[], Past, string | null, readonly string[]][] = [
    ['nobody answers', [], past(), null, []],
    ['replicas alone', [server('a'), server('b')], past({ followed: 'a' }), null, []],
    ['one primary', [server('a'), primary('b')], past(), 'b', []],
    [
      'the higher timeline, against the order and the present one',
      [primary('a', 1), primary('b', 2)],
      past({ followed: 'a', timelines: upTo(2) }),
      'b',
      ['a'],
    ],
    [
      'the higher timeline, although none was noted yet',
      [primary('a', 1), primary('b', 2)],
      past({ followed: 'a' }),
      'b',
      ['a'],
    ],
    [
      'a lower timeline than was seen',
      [primary('a', 1)],
      past({ timelines: upTo(2) }),
      null,
      ['a'],
    ],
    [
      'the timeline of another cluster is not ours',
      [primary('a', 1)],
      past({ timelines: new Map([['8', 5]]) }),
      'a',
      [],
    ],
    [
      'the followed one of two equals',
      [primary('a'), primary('b')],
      past({ followed: 'b' }),
      'b',
      ['a'],
    ],
    ['the first of two equals', [primary('a'), primary('b')], past(), 'a', ['b']],
    ['another cluster', [primary('a', 3, { systemId: '8' })], past({ followed: 'a' }), null, ['a']],
    [
      'a replica of another cluster',
      [primary('a'), server('b', { systemId: '8' })],
      past(),
      'a',
      ['b'],
    ],
    [
      'the first primary says which cluster it is',
      [server('a', { systemId: '8' }), primary('b'), primary('c', 5, { systemId: '9' })],
      past({ systemId: null }),
      'b',
      ['a', 'c'],
    ],
    [
      'what Patroni disowns',
      [primary('a', 2, { disowned: true })],
      past({ followed: 'a' }),
      null,
      ['a'],
    ],
    [
      'another one than Patroni disowns',
      [primary('a', 1, { disowned: true }), primary('b')],
      past({ followed: 'a' }),
      'b',
      ['a'],
    ],
  ]
  it.each(cases)('%s', (_, candidates, before, expected, refused) => {
    const verdict = judge(candidates, before)
    expect(verdict.primary).toBe(expected)
    expect([...verdict.refused.keys()]).toEqual(refused)
  })

  it('names rivals only when nothing but the order of the configuration decides', () => {
    const both = [primary('a'), primary('b')]
    expect(judge(both, past()).rivals).toEqual(['a', 'b'])
    expect(judge(both, past({ followed: 'b' })).rivals).toEqual([])
    expect(judge([primary('a'), primary('b', 2)], past()).rivals).toEqual([])
  })

  it('keeps the cluster of the first primary for good', () => {
    const { systemId } = judge([primary('a')], past({ systemId: null }))
    expect(systemId).toBe('7')
    expect(judge([primary('a', 9, { systemId: '8' })], past({ systemId })).systemId).toBe('7')
  })

  it('is never a server of another cluster, on a lower timeline, or without the role', () => {
    const candidate = fc.record({
      id: fc.constantFrom('a', 'b', 'c', 'd'),
      role: fc.constantFrom('primary' as const, 'replica' as const),
      systemId: fc.constantFrom('7', '8'),
      timeline: fc.integer({ min: 1, max: 4 }),
      disowned: fc.boolean(),
    })
    const candidates = fc.uniqueArray(candidate, { selector: ({ id }) => id, maxLength: 4 })
    const before = fc.record({
      followed: fc.constantFrom(null, 'a', 'b'),
      systemId: fc.constantFrom(null, '7'),
      timelines: fc.integer({ min: 0, max: 4 }).map(upTo),
    })
    fc.assert(
      fc.property(candidates, before, (some, known) => {
        const verdict = judge(some, known)
        const chosen = some.find(({ id }) => id === verdict.primary)
        const claims = some.filter(({ id, role }) => role === 'primary' && !verdict.refused.has(id))
        expect(claims).toEqual(chosen === undefined ? [] : [chosen])
        if (chosen === undefined) return
        const least = known.timelines.get(chosen.systemId) ?? 0
        expect(chosen.role).toBe('primary')
        expect(chosen.systemId).toBe(known.systemId ?? chosen.systemId)
        expect(chosen.timeline).toBeGreaterThanOrEqual(least)
      }),
    )
  })
})

describe('a look that failed', () => {
  it.each([
    ['57P03', 'denied'],
    ['28P01', 'denied'],
    ['28000', 'denied'],
    ['3D000', 'denied'],
    ['53300', 'full'],
    ['08006', 'broken'],
    ['08001', 'broken'],
    ['57P01', 'broken'],
    ['40001', 'broken'],
  ] as const)('SQLSTATE %s means: %s', (sqlstate, kind) => {
    expect(failureKind(sqlstate)).toBe(kind)
  })

  it.each([
    ['broken', false, false, 'fresh'],
    ['broken', true, false, 'fresh'],
    ['broken', false, true, null],
    ['full', true, false, 'kept'],
    ['full', false, false, null],
    ['denied', true, false, null],
  ] as const)(
    '%s, keeps a connection: %s, was down: %s → once more: %s',
    (kind, keeps, down, way) => {
      expect(secondWay(kind, { keeps, down })).toBe(way)
    },
  )
})

describe('the pause between two looks', () => {
  const pace = { probeMs: 1_000, sampleMsMin: 10 }
  const quiet = { watched: false, led: true }
  const moved = (lastMs: number) => samplePauseMs(pace, quiet, { moved: true, lastMs })
  const still = (lastMs: number) => samplePauseMs(pace, quiet, { moved: false, lastMs })

  it('grows up to the longest while nothing is written, and shrinks when something is', () => {
    expect([10, 40, 300, 600, 1_000].map(still)).toEqual([40, 80, 600, 1_000, 1_000])
    expect([1_000, 300, 80, 40].map(moved)).toEqual([500, 150, 40, 40])
  })

  it('is the shortest while somebody waits', () => {
    const watched = { watched: true, led: true }
    expect(samplePauseMs(pace, watched, { moved: false, lastMs: 1_000 })).toBe(10)
    expect(pauseMsMax(pace, watched, true)).toBe(10)
    expect(pauseMsMax(pace, watched, false)).toBe(1_000)
  })

  it('is 50 ms at most while there is no primary', () => {
    const leaderless = { watched: false, led: false }
    expect(samplePauseMs(pace, leaderless, { moved: false, lastMs: 1_000 })).toBe(50)
    expect(downPauseMs(pace, leaderless, 9, 1)).toBe(50)
    expect(pauseMsMax({ ...pace, probeMs: 20 }, leaderless, true)).toBe(20)
  })

  it('doubles from 50 ms for a server that is down, with a tenth left to chance', () => {
    const pauses = [1, 2, 3, 4, 5, 6, 99].map((failures) => downPauseMs(pace, quiet, failures, 1))
    expect(pauses).toEqual([50, 100, 200, 400, 800, 1_000, 1_000])
    expect(downPauseMs(pace, quiet, 1, 0)).toBe(45)
  })
})
