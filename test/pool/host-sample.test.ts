// What a server's answer means: on which timeline a replica's position lies, and which incarnation
// it belongs to.
import { describe, expect, it } from 'vitest'
import { type Lsn, lsn } from '../../core/lsn.ts'
import {
  type HostLife,
  lifeAfter,
  type Reading,
  readAnswer,
  timelineOf,
} from '../../pool/host-sample.ts'

const answerOf = (...row: (string | null)[]) => ({ rows: [row], tags: [] })

describe('an answer', () => {
  it('of a primary names the timeline by its WAL file', () => {
    const row = ['f', '1/2000028', '1/2000000', '0000001A0000000100000002', null]
    expect(readAnswer(answerOf(...row))).toEqual({
      role: 'primary',
      lsn: 0x102000028n,
      flushed: 0x102000000n,
      timeline: 26,
      identity: null,
    })
  })

  it('of a replica may lack the timeline that it receives', () => {
    const row = ['t', '0/AB', null, null, null, '7', '123', '456', '3']
    expect(readAnswer(answerOf(...row))).toEqual({
      role: 'replica',
      lsn: 0xabn,
      flushed: 0xabn,
      timeline: 0,
      identity: { systemId: '7', incarnation: '123.456', replayedTimeline: 3 },
    })
  })

  it.each([[[]], [['t', null, null, null, null]], [['true', '0/1', null, null, null]]])(
    'that is none is an error: %j',
    (row) => {
      expect(() => readAnswer(answerOf(...row))).toThrow('does not tell its position')
    },
  )
})

const reading = (over: Partial<Reading>): Reading => ({
  role: 'replica',
  lsn: lsn(500n),
  flushed: lsn(500n),
  timeline: 0,
  identity: null,
  ...over,
})
const identity = { systemId: '7', incarnation: '1.1', replayedTimeline: 1 }
const life = (over: Partial<HostLife>): HostLife => ({
  systemId: '7',
  incarnation: '1.1',
  replayedTimeline: 1,
  receivedTimeline: 1,
  ...over,
})

describe('what is known of an incarnation', () => {
  it('begins with who the server is', () => {
    expect(lifeAfter(null, reading({ timeline: 2 }))).toBe(null)
    expect(lifeAfter(null, reading({ timeline: 2, identity }))).toEqual(
      life({ receivedTimeline: 2 }),
    )
  })

  it('keeps the highest timelines, though the replica no longer tells', () => {
    const known = life({ receivedTimeline: 3, replayedTimeline: 2 })
    expect(lifeAfter(known, reading({ timeline: 0, identity }))).toEqual(known)
  })

  it('starts again with another incarnation', () => {
    const known = life({ receivedTimeline: 3 })
    const anew = { ...identity, incarnation: '2.1' }
    expect(lifeAfter(known, reading({ timeline: 1, identity: anew }))).toEqual(
      life({ incarnation: '2.1' }),
    )
  })
})

describe('the timeline of a position', () => {
  const starts = new Map<number, Lsn>([[2, lsn(400n)]])
  const startOf = (timeline: number) => starts.get(timeline) ?? null
  const cases: readonly [string, Reading, HostLife, number][] = [
    ['a primary writes its own', reading({ role: 'primary', timeline: 4 }), life({}), 4],
    [
      'what was replayed of is certain',
      reading({ lsn: lsn(1n) }),
      life({ replayedTimeline: 3 }),
      3,
    ],
    ['received, and behind its start', reading({}), life({ receivedTimeline: 2 }), 2],
    ['at its start', reading({ lsn: lsn(400n) }), life({ receivedTimeline: 2 }), 2],
    [
      'received, but not replayed up to its start',
      reading({ lsn: lsn(399n) }),
      life({ receivedTimeline: 2 }),
      1,
    ],
    ['received, and its start is not known', reading({}), life({ receivedTimeline: 3 }), 1],
  ]
  it.each(cases)('%s', (_, given, known, expected) => {
    expect(timelineOf(given, known, startOf)).toBe(expected)
  })
})
