// When `auto` mode plans: imbalance that lasts, hysteresis, window, budget, one move at a time.
import { describe, expect, it } from 'vitest'
import {
  type AutoFacts,
  type AutoPolicy,
  autoVerdict,
  type AutoVerdict,
  type BalancePoint,
} from '../../rebalancer/plan/auto-verdict.ts'

const minute = 60_000
/** 12:00 UTC of some day. */
const noon = Date.UTC(2026, 0, 5, 12)

const policy: AutoPolicy = {
  start: 1.3,
  stop: 1.15,
  lastingMs: 10 * minute,
  loadMin: 10,
  bytesMax: 1_000,
  budgetMs: 60 * minute,
  window: null,
}

/** One point per minute; the last one is now. */
function facts(ratios: readonly number[], more: Partial<AutoFacts> = {}): AutoFacts {
  const history = ratios.map((maxOverMean, at): BalancePoint => {
    return { atMs: noon - (ratios.length - 1 - at) * minute, maxOverMean, load: 500 }
  })
  return { nowMs: noon, history, moved: [], moveUnderWay: false, ...more }
}

function minutes(count: number, ratio: number): readonly number[] {
  return Array.from({ length: count }, () => ratio)
}

type Row = {
  readonly name: string
  readonly facts: AutoFacts
  readonly policy?: Partial<AutoPolicy>
  readonly verdict: AutoVerdict
}

const rows: readonly Row[] = [
  {
    name: 'rests while nothing has been measured',
    facts: facts([]),
    verdict: { kind: 'rest', why: 'nothing has been measured yet' },
  },
  {
    name: 'rests while all is even',
    facts: facts(minutes(20, 1.05)),
    verdict: { kind: 'rest', why: 'max/mean is 1.05, under 1.15' },
  },
  {
    name: 'rests between the two bounds unless it has begun',
    facts: facts(minutes(20, 1.2)),
    verdict: { kind: 'rest', why: 'max/mean is 1.20, not above 1.30' },
  },
  {
    name: 'rests while there is next to no load',
    facts: facts([], { history: [{ atMs: noon, maxOverMean: 3, load: 4 }] }),
    verdict: { kind: 'rest', why: 'all load is 4.00 ms/s, under 10.00 ms/s' },
  },
  {
    name: 'waits until the imbalance has lasted',
    facts: facts([1, ...minutes(10, 1.5)]),
    verdict: { kind: 'wait', why: 'max/mean is 1.50, above 1.30 for 540 s of 600 s' },
  },
  {
    name: 'counts anew after one even moment',
    facts: facts([...minutes(8, 1.5), 1.29, ...minutes(3, 1.5)]),
    verdict: { kind: 'wait', why: 'max/mean is 1.50, above 1.30 for 120 s of 600 s' },
  },
  {
    name: 'proposes once it has lasted',
    facts: facts(minutes(11, 1.5)),
    verdict: {
      kind: 'propose',
      bytesMax: 1_000,
      why: 'max/mean is 1.50; 0 of 1000 bytes moved in 60 min',
    },
  },
  {
    name: 'goes on between the two bounds once it has begun',
    facts: facts([...minutes(11, 1.5), 1.2, 1.2]),
    verdict: {
      kind: 'propose',
      bytesMax: 1_000,
      why: 'max/mean is 1.20; 0 of 1000 bytes moved in 60 min',
    },
  },
  {
    name: 'is done under the lower bound and does not go on above it',
    facts: facts([...minutes(11, 1.5), 1.1, 1.2]),
    verdict: { kind: 'rest', why: 'max/mean is 1.20, not above 1.30' },
  },
  {
    name: 'waits while a move is under way',
    facts: facts(minutes(11, 1.5), { moveUnderWay: true }),
    verdict: { kind: 'wait', why: 'a move is under way' },
  },
  {
    name: 'waits outside its window',
    facts: facts(minutes(11, 1.5)),
    policy: { window: { startMinute: 60, endMinute: 330 } },
    verdict: { kind: 'wait', why: 'max/mean is 1.50; the window is 01:00–05:30 UTC' },
  },
  {
    name: 'proposes inside a window that goes past midnight',
    facts: facts(minutes(11, 1.5)),
    policy: { window: { startMinute: 660, endMinute: 60 }, bytesMax: null },
    verdict: { kind: 'propose', bytesMax: null, why: 'max/mean is 1.50' },
  },
  {
    name: 'has as much of the budget as was not used of late',
    facts: facts(minutes(11, 1.5), {
      moved: [
        { atMs: noon - 61 * minute, bytes: 900 },
        { atMs: noon - 5 * minute, bytes: 300 },
      ],
    }),
    verdict: {
      kind: 'propose',
      bytesMax: 700,
      why: 'max/mean is 1.50; 300 of 1000 bytes moved in 60 min',
    },
  },
  {
    name: 'waits when the budget is used up',
    facts: facts(minutes(11, 1.5), { moved: [{ atMs: noon - minute, bytes: 1_000 }] }),
    verdict: { kind: 'wait', why: 'max/mean is 1.50; 1000 of 1000 bytes moved in 60 min' },
  },
]

describe('auto mode', () => {
  it.each(rows)('$name', ({ facts, policy: changes, verdict }) => {
    expect(autoVerdict(facts, { ...policy, ...changes })).toEqual(verdict)
  })
})
