// A model of one shard with servers that lag, crash and are promoted, and of sessions that write,
// read and hand tokens over: no read that is allowed on a replica misses what its session knows.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { shardId } from '../../core/ids.ts'
import { mayRead, type Needs, SessionPositions } from '../../proxy/session-positions.ts'
import { type Host, ReplicatedLog, type Sampled } from './replicated-log.ts'

const shard = shardId('s1')
const hostCount = 3
const sessionCount = 3

type Kind =
  | 'write'
  | 'read'
  | 'replay'
  | 'receive'
  | 'ask'
  | 'answer'
  | 'look'
  | 'time'
  | 'token'
  | 'crash'
  | 'promote'
  | 'reinitialise'
type Step = readonly [kind: Kind, who: number, amount: number]
type Rule = (needs: Needs, host: Sampled) => boolean
type Session = { readonly positions: SessionPositions; known: Set<number> }
type Tally = { onReplica: number; onPrimary: number; tokens: number }

class Violation extends Error {}

/** Plays the steps under `rule`. @throws Violation when a read misses what its session knows. */
class Model {
  readonly log = new ReplicatedLog(hostCount)
  readonly tally: Tally
  readonly #rule: Rule
  readonly #sessions = Array.from({ length: sessionCount }, (): Session => {
    return { positions: new SessionPositions(), known: new Set() }
  })

  constructor(rule: Rule, tally: Tally) {
    this.#rule = rule
    this.tally = tally
  }

  play([kind, who, amount]: Step): void {
    const { log } = this
    const host = pick(log.hosts, who)
    const session = pick(this.#sessions, who)
    const actions: Record<Step[0], () => void> = {
      write: () => this.#write(session, 1 + (amount % 9)),
      read: () => this.#read(session, amount),
      replay: () => log.replay(host, 1 + (amount % 9)),
      receive: () => log.receive(host),
      ask: () => log.ask(host),
      answer: () => log.answer(host),
      look: () => this.#look(host),
      time: () => {
        log.nowMs += 1 + (amount % 3)
      },
      token: () => this.#handOver(session, pick(this.#sessions, amount)),
      crash: () => log.crash(host),
      promote: () => log.promote(host),
      reinitialise: () => amount % 4 === 0 && log.reinitialise(),
    }
    actions[kind]()
  }

  #write(session: Session, bytes: number): void {
    const { id, position } = this.log.write(bytes)
    session.known.add(id)
    session.positions.reached(shard, position)
  }

  /** On the first replica that the rule allows, from one chosen on, else on the primary. */
  #read(session: Session, from: number): void {
    const { log } = this
    session.positions.settle(shard, log.sampled())
    const needs = session.positions.needs(shard)
    const replicas = log.replicas()
    for (let n = 0; n < replicas.length; n += 1) {
      const host = pick(replicas, from + n)
      const { sample } = host
      // A connection that is older than the sample has not outlived a restart.
      if (sample === null || sample.incarnation !== `life ${host.life}`) continue
      if (!this.#rule(needs, sample)) continue
      this.tally.onReplica += 1
      this.#see(session, host, sample.incarnation)
      return
    }
    this.tally.onPrimary += 1
    this.#see(session, log.primary, `life ${log.primary.life}`)
  }

  #see(session: Session, host: Host, incarnation: string): void {
    const { log } = this
    const seen = log.visible(host)
    const kept = log.visible(log.primary)
    for (const id of session.known) {
      if (kept.has(id) && !seen.has(id)) throw new Violation(`${host.id} lacks write ${id}`)
    }
    for (const id of seen) session.known.add(id)
    session.positions.observed(
      shard,
      { id: host.id, incarnation, primary: host === log.primary },
      log.nowMs,
    )
  }

  #look(host: Host): void {
    this.log.ask(host)
    this.log.answer(host)
  }

  #handOver(giver: Session, taker: Session): void {
    const { log } = this
    giver.positions.settle(shard, log.sampled())
    if (giver.positions.snapshot().open.size > 0) {
      this.#see(giver, log.primary, `life ${log.primary.life}`)
      log.nowMs += 1
      this.#look(log.primary)
      giver.positions.settle(shard, log.sampled())
    }
    const { positions, open } = giver.positions.snapshot()
    if (open.size > 0) throw new Violation('a look at the primary settles nothing')
    this.tally.tokens += 1
    taker.positions.merge(positions)
    for (const id of giver.known) taker.known.add(id)
  }
}

function pick<T>(from: readonly T[], choice: number): T {
  const picked = from[choice % from.length]
  if (picked === undefined) throw new Error('nothing to pick from')
  return picked
}

const kinds = fc.oneof(
  often(6, 'write'),
  often(20, 'read'),
  often(16, 'replay'),
  often(3, 'receive'),
  often(4, 'ask'),
  often(4, 'answer'),
  often(16, 'look'),
  often(12, 'time'),
  often(4, 'token'),
  often(2, 'crash'),
  often(2, 'promote'),
  often(1, 'reinitialise'),
)
const steps = fc.array(fc.tuple(kinds, fc.nat(hostCount * sessionCount - 1), fc.nat(1000)), {
  maxLength: 150,
  size: 'max',
})

function often(weight: number, kind: Kind) {
  return { weight, arbitrary: fc.constant(kind) }
}

/** Plays many histories; the answer of fast-check, with what was done in them. */
function explore(rule: Rule, numRuns: number) {
  const tally: Tally = { onReplica: 0, onPrimary: 0, tokens: 0 }
  const property = fc.property(steps, (history) => {
    const model = new Model(rule, tally)
    for (const step of history) model.play(step)
  })
  return { outcome: fc.check(property, { numRuns }), tally }
}

describe('sessions on a shard with replicas', () => {
  it('never miss what they have written or seen, and do read on replicas', () => {
    const { outcome, tally } = explore(mayRead, 5000)
    expect(fc.defaultReportMessage(outcome) ?? 'no violation').toBe('no violation')
    expect(tally.onReplica).toBeGreaterThan(tally.onPrimary / 10)
    expect(tally.tokens).toBeGreaterThan(1000)
  })

  it.each<[string, Rule]>([
    ['every replica may be read', () => true],
    ['what was seen does not count', ({ position }, host) => mayRead({ position, open: [] }, host)],
    [
      'what was written does not count',
      ({ open }, host) => mayRead({ position: null, open }, host),
    ],
    [
      'timelines do not count',
      ({ position, open }, host) => {
        const { systemId, timeline } = host.position
        const anywhere = position === null ? null : { ...position, systemId, timeline }
        return mayRead({ position: anywhere, open }, host)
      },
    ],
    [
      'restarts do not count',
      ({ position, open }, host) => {
        const { incarnation } = host
        return mayRead({ position, open: open.map((seen) => ({ ...seen, incarnation })) }, host)
      },
    ],
  ])('would miss something if %s', (_name, rule) => {
    const { outcome } = explore(rule, 20_000)
    expect(outcome.failed).toBe(true)
    expect(outcome.errorInstance).toBeInstanceOf(Violation)
  })
})
