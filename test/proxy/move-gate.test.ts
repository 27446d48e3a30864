// What a proxy holds back while virtual nodes move, for how long, and when it tells the catalog that
// nothing of its work is older than a topology. Time is the test's own.
import { beforeEach, describe, expect, it } from 'vitest'
import { leaseMs } from '../../catalog/proxy-registry.ts'
import type { Clock } from '../../core/clock.ts'
import { epoch, type ShardId, shardId, vnode } from '../../core/ids.ts'
import { LatestRide } from '../../proxy/latest-ride.ts'
import { type GatedSession, MoveGate } from '../../proxy/move-gate.ts'
import { setMembership } from '../../router/moved-set.ts'
import {
  type MovePhase,
  restingTopology,
  type Topology,
  type TopologyMove,
} from '../../router/topology.ts'
import { present } from '../support/clients.ts'

const s1 = shardId('s1')
const s2 = shardId('s2')
const holdMs = 1_000
const heldMax = 3
const limits = () => ({ waitersMax: heldMax, queryWaitTimeoutMs: holdMs })

/** Time that passes when the test says so. */
class TestTime implements Clock {
  #ms = 0
  readonly #waiting = new Set<{ readonly atMs: number; readonly fire: () => void }>()

  readonly nowMs = () => this.#ms

  readonly after: Clock['after'] = (delayMs, fire) => {
    const waiting = { atMs: this.#ms + delayMs, fire }
    this.#waiting.add(waiting)
    return { cancel: () => this.#waiting.delete(waiting) }
  }

  advance(ms: number): void {
    this.#ms += ms
    for (const waiting of Array.from(this.#waiting)) {
      if (waiting.atMs <= this.#ms && this.#waiting.delete(waiting)) waiting.fire()
    }
  }
}

type Lease = NonNullable<ReturnType<GatedSession['leases']['get']>>
type Transaction = NonNullable<GatedSession['transaction']>

/** A session with at most one server, whose answers the test owes. */
class TestSession implements GatedSession {
  transaction: Transaction | null = null
  readonly riding = new LatestRide()
  lease: (Lease & { readonly server: { exchangesOwed: number } }) | null = null
  #shard: ShardId = s1

  readonly leases = {
    get: (shard: ShardId) => (shard === this.#shard ? (this.lease ?? undefined) : undefined),
  }

  /** It has a server of `shard`, which owes an answer. */
  work(shard: ShardId, writes: boolean): void {
    this.#shard = shard
    this.lease = { writes, passes: null, server: { exchangesOwed: 1 } }
  }

  answered(): void {
    if (this.lease !== null) this.lease.server.exchangesOwed = 0
  }
}

function moveIn(phase: MovePhase, id = 1): TopologyMove {
  const set = { vnodes: [vnode(id)], keys: [], except: [] }
  const serving = phase === 'switched' ? s2 : s1
  return { id, from: s1, to: s2, phase, serving, set, contains: setMembership(set) }
}

function topologyAt(number: number, ...moves: TopologyMove[]): Topology {
  return { ...restingTopology(epoch(number), [s1, s2], new Uint16Array(4)), moves }
}

describe('the gate', () => {
  let time: TestTime
  let sessions: TestSession[]
  let gate: MoveGate
  let told: number[]

  beforeEach(() => {
    time = new TestTime()
    sessions = [new TestSession(), new TestSession()]
    told = []
    const onSeen = () => told.push(gate.seen)
    gate = new MoveGate({ clock: time, sessions, limits, onSeen })
    gate.beaten(0)
  })

  const first = () => present(sessions[0])
  const second = () => present(sessions[1])
  const holds = (phase: MovePhase, session = first()) => gate.holds([moveIn(phase)], session.leases)
  /** Adopts a topology and lets whoever looks, look. */
  function adopt(topology: Topology): void {
    gate.adopt(topology)
    time.advance(2)
  }

  describe('holds a statement', () => {
    it('of a fenced virtual node, and of no other', () => {
      expect(holds('fenced')).toBe(true)
      expect([holds('moving'), holds('switched')]).toEqual([false, false])
      expect(gate.holds([], first().leases)).toBe(false)
      expect(gate.holds([moveIn('moving', 1), moveIn('fenced', 2)], first().leases)).toBe(true)
    })

    it('of whatever is on the move while the catalog does not hear of the proxy', () => {
      time.advance(leaseMs)
      expect([holds('moving'), holds('switched')]).toEqual([false, false])
      time.advance(1)
      expect([holds('moving'), holds('switched')]).toEqual([true, true])
      expect(gate.holds([], first().leases)).toBe(false)
      gate.beaten(1)
      expect([holds('moving'), holds('switched')]).toEqual([false, false])
    })

    it('from the beginning, until the catalog has heard of the proxy for the first time', () => {
      const fresh = new MoveGate({ clock: time, sessions, limits, onSeen: () => {} })
      expect(fresh.holds([moveIn('moving')], first().leases)).toBe(true)
      fresh.beaten(0)
      expect(fresh.holds([moveIn('moving')], first().leases)).toBe(false)
    })

    it('but for the transactions that the fence has found on the serving shard', () => {
      const participants = new Map([[s1, false]])
      first().transaction = { participants, everywhere: false }
      first().work(s1, false)
      adopt(topologyAt(2, moveIn('fenced', 1)))
      expect([holds('fenced', first()), holds('fenced', second())]).toEqual([false, true])
      expect(gate.holds([moveIn('fenced', 2)], first().leases)).toBe(true)
    })

    it('of a session that was busy elsewhere when the fence came', () => {
      first().transaction = { participants: new Map([[s2, true]]), everywhere: false }
      first().work(s2, true)
      adopt(topologyAt(2, moveIn('fenced')))
      expect(holds('fenced')).toBe(true)
    })
  })

  describe('lets go what it holds', () => {
    const outcomes = (count: number) =>
      Promise.all(Array.from({ length: count }, () => gate.hold(time.nowMs())))

    it('when there is a new topology', async () => {
      const held = outcomes(2)
      expect(gate.heldNow).toBe(2)
      time.advance(30)
      gate.adopt(topologyAt(2, moveIn('switched')))
      await held
      expect([gate.heldNow, gate.counts]).toEqual([0, { held: 2, heldMs: 60, refused: 0 }])
    })

    it('when the catalog hears of the proxy again, and not at every heartbeat', async () => {
      const held = outcomes(1)
      gate.beaten(time.nowMs())
      expect(gate.heldNow).toBe(1)
      time.advance(holdMs - 1)
      const late = new MoveGate({ clock: time, sessions, limits, onSeen: () => {} })
      const waiting = late.hold(time.nowMs())
      late.beaten(time.nowMs())
      await waiting
      time.advance(1)
      await held
    })

    it('to be told why, when it has waited for as long as it may', async () => {
      const sinceMs = time.nowMs()
      const held = gate.hold(sinceMs)
      time.advance(holdMs)
      await held
      await expect(gate.hold(sinceMs)).rejects.toMatchObject({
        sqlstate: '57P03',
        message: expect.stringContaining('their switch takes too long'),
      })
      time.advance(leaseMs)
      await expect(gate.hold(sinceMs)).rejects.toMatchObject({
        message: expect.stringContaining('the catalog cannot be reached'),
      })
      expect([gate.heldNow, gate.counts]).toEqual([0, { held: 1, heldMs: holdMs, refused: 2 }])
    })

    it('counts the time over several waits of one statement', async () => {
      const sinceMs = time.nowMs()
      const held = gate.hold(sinceMs)
      time.advance(holdMs - 100)
      gate.adopt(topologyAt(2, moveIn('fenced')))
      await held
      const again = gate.hold(sinceMs)
      time.advance(99)
      expect(gate.heldNow).toBe(1)
      time.advance(1)
      await again
      expect(gate.heldNow).toBe(0)
    })

    it('and takes no more than so many at once', async () => {
      const held = outcomes(heldMax)
      await expect(gate.hold(time.nowMs())).rejects.toMatchObject({ sqlstate: '53300' })
      gate.adopt(topologyAt(2))
      await held
      expect(gate.counts).toMatchObject({ held: heldMax, refused: 1 })
    })
  })

  describe('has seen a topology', () => {
    it('at once when nothing goes by an older one, and tells so once', () => {
      gate.adopt(topologyAt(2, moveIn('moving')))
      expect(told).toEqual([2])
      gate.adopt(topologyAt(2, moveIn('moving')))
      time.advance(10)
      expect(told).toEqual([2])
    })

    it('when what goes to several shards has ended; what has begun since is not waited for', () => {
      const leave = gate.enter()
      adopt(topologyAt(2, moveIn('moving')))
      expect(gate.seen).toBe(0)
      const leaveLater = gate.enter()
      leave()
      time.advance(2)
      expect(told).toEqual([2])
      leaveLater()
    })

    it('when a transaction that was on all shards has ended, even if nothing is fenced', () => {
      first().transaction = { participants: new Map(), everywhere: true }
      adopt(topologyAt(2))
      expect(gate.seen).toBe(0)
      first().transaction = null
      time.advance(2)
      expect(gate.seen).toBe(2)
    })

    it.each([
      ['a read', false, 2],
      ['a write', true, 0],
    ])(
      'with a fence although %s by itself is under way on the serving shard',
      (_, writes, seen) => {
        first().work(s1, writes)
        adopt(topologyAt(2, moveIn('fenced')))
        expect(gate.seen).toBe(seen)
        first().answered()
        time.advance(2)
        expect(gate.seen).toBe(2)
      },
    )

    it('with a fence when a transaction of the serving shard has ended', () => {
      first().transaction = { participants: new Map([[s1, true]]), everywhere: false }
      first().work(s1, true)
      adopt(topologyAt(2, moveIn('fenced')))
      first().answered()
      time.advance(2)
      expect(gate.seen).toBe(0)
      first().transaction = { participants: new Map([[s1, true]]), everywhere: false }
      time.advance(2)
      expect(gate.seen).toBe(2)
    })

    it('with a fence when the server that was busy is gone', () => {
      first().transaction = { participants: new Map([[s1, true]]), everywhere: false }
      first().work(s1, true)
      adopt(topologyAt(2, moveIn('fenced')))
      first().lease = null
      time.advance(2)
      expect(gate.seen).toBe(2)
    })

    it('with a switch when the former owner has answered what it was asked', () => {
      first().work(s1, false)
      second().work(s2, false)
      adopt(topologyAt(2, moveIn('fenced')))
      expect(gate.seen).toBe(2)
      adopt(topologyAt(3, moveIn('switched')))
      expect(gate.seen).toBe(2)
      first().answered()
      time.advance(2)
      expect(gate.seen).toBe(3)
    })

    it('with a switch when what rode to the former owner has arrived, though more rides elsewhere', () => {
      first().riding.began(s1)
      second().riding.began(s2)
      adopt(topologyAt(2, moveIn('fenced')))
      adopt(topologyAt(3, moveIn('switched')))
      time.advance(2)
      expect(gate.seen).toBe(2)
      first().riding.over()
      first().riding.began(s1)
      time.advance(2)
      expect(gate.seen).toBe(3)
    })

    it('the newest one only, when several came while something was under way', () => {
      const leave = gate.enter()
      for (const number of [2, 3, 4]) gate.adopt(topologyAt(number))
      leave()
      time.advance(2)
      expect(told).toEqual([4])
    })
  })

  it('asks the catalog at once when a fence was met that the topology lacks', () => {
    gate.askCatalog()
    expect(told).toEqual([0])
  })
})
