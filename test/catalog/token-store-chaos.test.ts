// Whatever breaks: no fetch is older than what was acknowledged before it. Proxies write and read under one id while
// ways are cut, Redis dies and comes back empty, and proxies crash and return. What a replica under the lag limit
// has anyway need not be in a token: it counts as seen.
import { describe, expect, it } from 'vitest'
import { type ShardId, shardId } from '../../core/ids.ts'
import { pause } from '../support/clients.ts'
import { createRandom, type Random } from '../support/random.ts'
import { redisKinds } from './redis-servers.ts'
import { at, type Fleet, lagMs, type Member, withFleet } from './token-fleet.ts'

const shards: readonly ShardId[] = [shardId('s1'), shardId('s2')]
const runMs = 8_000
const shortLeaseMs = 300

type Write = { readonly shard: number; readonly place: number; readonly committedAtMs: number }

/** What was written, and what had been acknowledged when. */
class Ledger {
  readonly stale: string[] = []
  readonly #committed: Write[] = []
  readonly #acknowledged = [0, 0]
  #place = 0
  fetched = 0

  commit(shard: number): Write {
    this.#place += 1
    const write = { shard, place: this.#place, committedAtMs: performance.now() }
    this.#committed.push(write)
    return write
  }

  acknowledge({ shard, place }: Write): void {
    this.#acknowledged[shard] = Math.max(this.#acknowledged[shard] ?? 0, place)
  }

  async check({ store }: Member): Promise<void> {
    const startedAtMs = performance.now()
    const needed = [...this.#acknowledged]
    const fetched = await store.fetch(['u'])
    if (fetched.kind === 'unknown') return
    this.fetched += 1
    for (const [shard, place] of needed.entries()) {
      const token = Number(fetched.positions.get(shards[shard] ?? shardId(''))?.lsn ?? 0)
      const replica = this.#committed.findLast(
        (write) => write.shard === shard && write.committedAtMs < startedAtMs - lagMs,
      )
      const seen = Math.max(token, replica?.place ?? 0)
      if (seen < place) this.stale.push(`s${shard + 1}: ${token}, acknowledged was ${place}`)
    }
  }
}

/** Breaks one thing, and repairs it after a while. */
async function breakSomething(
  fleet: Fleet,
  members: Map<string, Member>,
  random: Random,
): Promise<void> {
  const name = random.pick(['a', 'b', 'c'])
  const member = members.get(name)
  if (member === undefined) return
  switch (random.below(5)) {
    case 0:
      await fleet.killRedis()
      await pause(random.below(2 * shortLeaseMs))
      return fleet.startRedis()
    case 1:
      members.delete(name)
      await fleet.crash(member)
      await pause(random.below(2 * shortLeaseMs))
      members.set(name, await fleet.join(name, { leaseMs: shortLeaseMs }))
      return
    default:
      member.relay.mode = random.pick(['cut', 'swallow'])
      await pause(random.below(3 * shortLeaseMs))
      member.relay.mode = 'open'
  }
}

describe.each(redisKinds())('with $name', (kind) => {
  it('no fetch is older than what was acknowledged before it, whatever breaks', async () => {
    const seed = Number(process.env['SEED'] ?? Date.now() % 1e9)
    console.log(`seed ${seed}`)
    const random = createRandom(seed)
    const ledger = new Ledger()
    await withFleet(kind, async (fleet) => {
      const members = new Map<string, Member>()
      for (const name of ['a', 'b', 'c']) {
        members.set(name, await fleet.join(name, { leaseMs: shortLeaseMs }))
      }
      const endMs = performance.now() + runMs
      const repeat = async (act: (member: Member) => Promise<void>, restMs: number) => {
        while (performance.now() < endMs) {
          const member = members.get(random.pick(['a', 'b', 'c']))
          if (member !== undefined) await act(member)
          await pause(1 + random.below(restMs))
        }
      }
      const write = async (member: Member) => {
        const made = ledger.commit(random.below(2))
        const positions = made.shard === 0 ? at(made.place) : at(null, made.place)
        await member.store.publish(['u'], positions)
        // A crashed proxy acknowledges nothing.
        if ([...members.values()].includes(member)) ledger.acknowledge(made)
      }
      const chaos = async () => {
        while (performance.now() < endMs) {
          await pause(random.below(5 * shortLeaseMs))
          await breakSomething(fleet, members, random)
        }
      }
      const writers = Array.from({ length: 8 }, () => repeat(write, 60))
      const readers = Array.from({ length: 3 }, () => repeat((member) => ledger.check(member), 3))
      await Promise.all([...writers, ...readers, chaos()])
    })
    console.log(`${ledger.fetched} fetches were known`)
    expect(ledger.stale).toEqual([])
    expect(ledger.fetched).toBeGreaterThan(100)
  })
})
