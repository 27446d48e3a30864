// The checker itself: histories written by hand that break each guarantee, correct ones that pass, and histories of a
// simulated store.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkHistory } from './history-check.ts'
import { History, type Operation } from './history.ts'
import {
  type SimulationStep,
  simulate,
  simulatedShardOf,
  type TimedStep,
} from './history-simulation.ts'
import type { FinalState } from './history-values.ts'
import { describeAll, type Violation } from './history-violation.ts'

type Line = Partial<Operation> | { readonly from: number; readonly to: number }

/** Lines that do not say otherwise follow each other, 10 ms each. Even keys are on shard 0, odd ones on shard 1. */
function historyOf(lines: readonly Line[]): History {
  const history = new History()
  lines.forEach((line, at) => {
    const times = { invokedMs: at * 20, returnedMs: at * 20 + 10 }
    if ('from' in line) {
      history.handOver({ ...times, ...line })
      return
    }
    const rest = { session: 1, kind: 'read', key: 0, version: 0, outcome: 'ok' } as const
    history.add({ ...times, ...rest, value: line.version ?? 0, place: 'unknown', ...line })
  })
  return history
}

const shardOf = (key: number) => key % 2

function check(lines: readonly Line[], finalState: FinalState | null = null): Violation[] {
  return checkHistory({ history: historyOf(lines), shardOf, finalState })
}

const write = (line: Partial<Operation>): Line => ({ kind: 'write', ...line })
const read = (line: Partial<Operation>): Line => ({ kind: 'read', ...line })
const anywhere = { session: -1 }

/** Each breaks one guarantee, with the numbers of the lines that contradict each other. */
const broken: readonly (readonly [
  string,
  Violation['guarantee'],
  readonly Line[],
  number,
  number,
])[] = [
  [
    'a session does not see its own write',
    'read-your-writes',
    [write({ version: 1 }), read({ version: 0 })],
    0,
    1,
  ],
  [
    'a session does not see its own write to another key of the shard',
    'read-your-writes',
    [
      write({ ...anywhere, key: 0, version: 1 }),
      write({ key: 2, version: 1, value: 2 }),
      read({ key: 0, version: 0 }),
    ],
    1,
    2,
  ],
  [
    'a token is handed over and its write is not seen',
    'read-your-writes',
    [write({ version: 1 }), { from: 1, to: 2 }, read({ session: 2, version: 0 })],
    0,
    2,
  ],
  [
    'a session reads an older version than before',
    'monotonic reads',
    [
      write({ ...anywhere, version: 1 }),
      write({ ...anywhere, version: 2 }),
      read({ version: 2 }),
      read({ version: 1 }),
    ],
    2,
    3,
  ],
  [
    'a session reads an older state through another key',
    'monotonic reads',
    [
      write({ ...anywhere, key: 0, version: 1 }),
      write({ ...anywhere, key: 2, version: 1, value: 2 }),
      read({ key: 2, version: 1, value: 2 }),
      read({ key: 0, version: 0 }),
    ],
    2,
    3,
  ],
  [
    'a write of a session comes before its own earlier one',
    'monotonic writes',
    [
      write({ version: 2, value: 2, place: 'primary' }),
      write({ version: 1, invokedMs: 20, returnedMs: 30 }),
    ],
    0,
    1,
  ],
  [
    'a write comes before what its session had read',
    'writes follow reads',
    [
      write({ ...anywhere, version: 2, value: 2, invokedMs: 0, returnedMs: 90 }),
      read({ version: 2, value: 2 }),
      write({ version: 1, value: 1 }),
    ],
    1,
    2,
  ],
  [
    'a primary answers with a version that was replaced before the question',
    'linearizable on the primary',
    [write({ version: 1 }), read({ session: 2, version: 0, place: 'primary' })],
    0,
    1,
  ],
  [
    'a write that nobody was told about was read and then was not there',
    'linearizable on the primary',
    [
      write({ version: -1, value: 1, outcome: 'unknown' }),
      read({ version: 1, place: 'primary' }),
      read({ session: 2, version: 0, place: 'primary' }),
    ],
    1,
    2,
  ],
  [
    'two writers are told the same version',
    'value integrity',
    [write({ version: 1, value: 1 }), write({ session: 2, version: 1, value: 2 })],
    1,
    0,
  ],
  ['a value comes from nowhere', 'value integrity', [read({ version: 1, value: 7 })], -1, 0],
  [
    'one write was executed twice',
    'value integrity',
    [write({ version: 1, value: 1 }), read({ session: 2, version: 2, value: 1 })],
    0,
    1,
  ],
  [
    'a write that was told to have failed is there',
    'value integrity',
    [write({ version: -1, value: 1, outcome: 'failed' }), read({ session: 2, version: 1 })],
    0,
    1,
  ],
  [
    'a value is read on another key',
    'value integrity',
    [write({ key: 0, version: 1 }), read({ session: 2, key: 1, version: 1 })],
    0,
    1,
  ],
  [
    'a value is read before it is written',
    'value integrity',
    [read({ version: 1 }), write({ session: 2, version: 1 })],
    1,
    0,
  ],
]

describe('a history in which', () => {
  it.each(broken)('%s breaks: %s', (_, guarantee, lines, earlier, later) => {
    const violations = check(lines)
    expect(violations).toContainEqual(expect.objectContaining({ guarantee, earlier, later }))
  })
})

const fine: readonly (readonly [string, readonly Line[]])[] = [
  [
    'another session reads an older version',
    [write({ version: 1 }), read({ session: 2, version: 0, place: 'replica' })],
  ],
  [
    'a session misses what was committed while it looked elsewhere',
    [
      write({ ...anywhere, key: 0, version: 1, invokedMs: 0, returnedMs: 90 }),
      write({ ...anywhere, key: 2, version: 1, value: 2, invokedMs: 0, returnedMs: 90 }),
      read({ key: 2, version: 1, value: 2 }),
      read({ key: 0, version: 0 }),
    ],
  ],
  [
    'the other key is on another shard',
    [
      write({ ...anywhere, key: 0, version: 1 }),
      write({ key: 1, version: 1, value: 2 }),
      read({ key: 0, version: 0 }),
    ],
  ],
  [
    'a read overlaps the write that it does not see',
    [
      write({ version: 1, invokedMs: 0, returnedMs: 50 }),
      read({ session: 2, version: 0, place: 'primary', invokedMs: 10, returnedMs: 60 }),
    ],
  ],
  [
    'a token is handed over before the write',
    [{ from: 1, to: 2 }, write({ version: 1 }), read({ session: 2, version: 0 })],
  ],
  [
    'a handover begins before the write ends',
    [
      write({ version: 1, invokedMs: 0, returnedMs: 15 }),
      { from: 1, to: 2 },
      read({ session: 2, version: 0 }),
    ].map((line, at) => (at === 1 ? { ...line, invokedMs: 10, returnedMs: 20 } : line)),
  ],
  [
    'a write without an answer shows up late',
    [
      write({ version: -1, value: 1, outcome: 'unknown' }),
      read({ version: 0, place: 'primary' }),
      read({ version: 1, place: 'primary' }),
    ],
  ],
  [
    'two reads of one session run at the same time',
    [
      write({ ...anywhere, version: 1 }),
      read({ version: 1, invokedMs: 30, returnedMs: 40 }),
      read({ version: 0, invokedMs: 30, returnedMs: 50 }),
    ],
  ],
]

describe('a history is correct when', () => {
  it.each(fine)('%s', (_, lines) => {
    expect(check(lines)).toEqual([])
  })
})

describe('the database at the end', () => {
  const row = (version: number, value: number) => ({ key: 0, version, value })
  const versions = (version: number) => new Map([[0, version]])
  const lines = [write({ version: 1 }), write({ version: 2 })]

  it('holds what was acknowledged', () => {
    expect(check(lines, { log: [row(1, 1), row(2, 2)], versions: versions(2) })).toEqual([])
  })

  it.each([
    ['lacks an acknowledged write', [row(1, 1)], 1],
    ['has an acknowledged write at another version', [row(1, 1), row(3, 2)], 3],
    ['has a write twice', [row(1, 1), row(2, 2), row(3, 2)], 3],
    ['has two values at one version', [row(1, 1), row(1, 2)], 1],
    ['has a value of nobody', [row(1, 1), row(2, 2), row(3, 9)], 3],
    ['has a register behind its log', [row(1, 1), row(2, 2)], 1],
  ])('is found out when it %s', (_, log, version) => {
    const found = check(lines, { log, versions: versions(version) })
    expect(found.map(({ guarantee }) => guarantee)).toContain('acknowledged writes stay')
  })

  it('may hold a write that nobody was told about', () => {
    const unknown = [...lines, write({ version: -1, value: 3, outcome: 'unknown' })]
    const log = [row(1, 1), row(2, 2), row(3, 3)]
    expect(check(unknown, { log, versions: versions(3) })).toEqual([])
  })

  it('may not hold a write that was told to have failed', () => {
    const failed = [...lines, write({ version: -1, value: 3, outcome: 'failed' })]
    const log = [row(1, 1), row(2, 2), row(3, 3)]
    expect(check(failed, { log, versions: versions(3) })).toHaveLength(1)
  })
})

describe('what was found', () => {
  it('is printed with both operations', () => {
    const history = historyOf([write({ version: 1 }), read({ version: 0, place: 'replica' })])
    const violations = checkHistory({ history, shardOf, finalState: null })
    const text = describeAll(history, violations)
    expect(text).toContain('read-your-writes: key 0 is at version 0 after 1')
    expect(text).toContain('session 1 writes key 0: version 1, value 1, ok')
    expect(text).toContain('session 1 reads key 0: version 0, value 0, ok on a replica')
  })
})

const small = fc.nat({ max: 11 })
const anyStep: fc.Arbitrary<SimulationStep> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('read'), session: small, key: small }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('write'), session: small, key: small }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('lost'), session: small, key: small }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('replay'),
      replica: small,
      count: fc.nat({ max: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('handover'), session: small, to: small }) },
)
const anyRun: fc.Arbitrary<TimedStep[]> = fc.array(
  fc.record({
    step: anyStep,
    beforeMs: fc.nat({ max: 40 }),
    afterMs: fc.nat({ max: 40 }),
    replica: small,
  }),
  { maxLength: 120, size: 'max' },
)

describe('a simulated store with replicas', () => {
  const violationsOf = (steps: readonly TimedStep[], tokens: 'on' | 'off') => {
    const { history, finalState } = simulate(steps, tokens)
    return { history, found: checkHistory({ history, shardOf: simulatedShardOf, finalState }) }
  }

  it('keeps all guarantees with tokens', () => {
    fc.assert(
      fc.property(anyRun, (steps) => {
        const { history, found } = violationsOf(steps, 'on')
        expect(found.length === 0 ? '' : describeAll(history, found)).toBe('')
      }),
      { numRuns: 500 },
    )
  })

  it('breaks the session guarantees without tokens, and nothing else', () => {
    const guarantees = new Set<string>()
    for (const steps of fc.sample(anyRun, 300)) {
      for (const { guarantee } of violationsOf(steps, 'off').found) guarantees.add(guarantee)
    }
    expect([...guarantees].sort()).toEqual(['monotonic reads', 'read-your-writes'])
  })

  it('is checked for a million operations', () => {
    const history = new History()
    const sessions = 500
    const versions = new Map<number, number>()
    const lastValue = new Map<number, number>()
    for (let at = 0; at < 1_000_000; at += 1) {
      const key = (at * 7919) % 3000
      const isWrite = at % 3 === 0
      const version = (versions.get(key) ?? 0) + (isWrite ? 1 : 0)
      versions.set(key, version)
      const value = isWrite ? at + 1 : (lastValue.get(key) ?? 0)
      lastValue.set(key, value)
      history.add({
        session: at % sessions,
        kind: isWrite ? 'write' : 'read',
        key,
        version,
        value,
        invokedMs: at,
        returnedMs: at + 0.5,
        outcome: 'ok',
        place: 'primary',
      })
    }
    expect(checkHistory({ history, shardOf: (key) => key % 3, finalState: null })).toEqual([])
  })
})
