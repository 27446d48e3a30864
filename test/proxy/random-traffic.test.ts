// Random traffic of many clients through one proxy while server processes, and whole replicas, are killed. Every
// acknowledged write is there once, every other at most once, answers belong to their questions, sessions see what they
// have written, and in the end nothing is left over.
// RINGFENCE_TRAFFIC_MS=300000 makes it longer, RINGFENCE_SEED repeats what each client does.
import { expect, it } from 'vitest'
import { demoUrl } from '../../demo/cluster.ts'
import { demoRole } from '../../demo/roles.ts'
import type { ReadCounts } from '../../proxy/read-counts.ts'
import { askServer, pause, present, until } from '../support/clients.ts'
import { createRandom, type Random, seedOf } from '../support/random.ts'
import type { ReplicatedShard } from '../support/replicated-shard.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import { type Book, type Fate, RandomClient } from './random-client.ts'
import { firstShard, untilReadable } from './replica-fixture.ts'

const runSeed = Number(process.env['RINGFENCE_SEED'] ?? Date.now() % 1_000_000_000)
const trafficMs = Number(process.env['RINGFENCE_TRAFFIC_MS'] ?? 9_000)
const clientCount = 16
const complaintsMax = 5

it(`${clientCount} clients keep their answers and writes while servers are killed`, {
  timeout: trafficMs + 60_000,
}, async () => {
  const setupSql = 'CREATE TABLE log (id text NOT NULL)\n\nCREATE INDEX ON log (id)'
  const stack = await startReplicatedStack({
    shards: 1,
    replicas: 2,
    proxies: 1,
    poolSize: 5,
    setupSql,
  })
  try {
    await untilReadable(stack.proxy(0).instance, 2)
    const book: Book = { writes: new Map(), together: [], complaints: [], counts: new Map() }
    const endMs = performance.now() + trafficMs
    const goesOn = () => performance.now() < endMs && book.complaints.length < complaintsMax
    const traffic = Array.from({ length: clientCount }, (_, at) => run(at, stack, book, goesOn))
    const kills = killer(firstShard(stack), createRandom(seedOf(runSeed, 1_000)), goesOn)
    await Promise.all([...traffic, kills])
    const counts = [...book.counts].sort(([a], [b]) => (a < b ? -1 : 1))
    process.stdout.write(
      `random traffic: seed ${runSeed}, ${await kills} kills, ${book.writes.size} writes, ` +
        `${counts.map(([what, count]) => `${what}: ${count}`).join(', ')}, ` +
        `reads ${JSON.stringify(readCounts(stack))}\n`,
    )
    expect(book.complaints, `RINGFENCE_SEED=${runSeed}`).toEqual([])
    await nothingIsLeft(stack)
    expect(await wrongWrites(stack, book), `RINGFENCE_SEED=${runSeed}`).toEqual([])
    expect([...book.writes.values()].filter((fate) => fate === 'kept').length).toBeGreaterThan(100)
  } finally {
    await stack.stop()
  }
})

async function run(number: number, stack: ReplicatedStack, book: Book, goesOn: () => boolean) {
  const random = createRandom(seedOf(runSeed, number))
  const client = new RandomClient({ place: stack.place(0), random, number, book })
  while (goesOn()) {
    await client.step().catch((error: unknown) => {
      book.complaints.push(`client ${number}: ${String(error)}`)
    })
  }
  client.end()
}

/** Kills one server process after the other, and now and then a replica, which is started again. Gives how many. */
async function killer(
  shard: ReplicatedShard,
  random: Random,
  goesOn: () => boolean,
): Promise<number> {
  let kills = 0
  const anyone = `SELECT pg_terminate_backend(pid) FROM (
      SELECT pid FROM pg_stat_activity
      WHERE usename = '${demoRole.name}' AND backend_type = 'client backend' ORDER BY random() LIMIT $1
    ) AS victims`
  const [one, other] = shard.replicas.map(({ name }) => name)
  for (let turn = 1; goesOn(); turn += 1) {
    await pause(20 + random.below(80))
    kills += 1
    if (turn % 25 !== 0) {
      const { server } = random.pick([shard.primary, shard.primary, ...shard.replicas])
      await askServer(server.url(), anyone, [1 + random.below(3)])
      continue
    }
    const host = shard.host(present(random.oneIn(2) ? one : other))
    await shard.kill(host)
    await pause(random.below(300))
    await shard.restart(host)
  }
  return kills
}

function readCounts(stack: ReplicatedStack): ReadCounts {
  const database = present(stack.proxy(0).instance?.databases.values().next().value)
  return database.serversOf(database.home).counts
}

async function nothingIsLeft(stack: ReplicatedStack): Promise<void> {
  const instance = present(stack.proxy(0).instance ?? undefined)
  const database = present(instance.databases.values().next().value)
  await until('all servers are back', () => {
    const { leased, waiting, opening } = database.stats()
    return leased + waiting + opening === 0
  })
  await until('all clients are gone', () => instance.sessions.size + database.clients === 0)
  const open = `SELECT count(*) FROM pg_stat_activity
    WHERE state <> 'idle' AND backend_type = 'client backend' AND usename = '${demoRole.name}'
      AND query NOT LIKE '%pg_is_in_recovery%'`
  for (const { server } of firstShard(stack).hosts) {
    await until('no transaction is open', async () => {
      return (await askServer(server.url(), open))[0] === '0'
    })
  }
}

/** Writes that are there more often, or less, than they may be. */
async function wrongWrites(stack: ReplicatedStack, { writes, together }: Book) {
  const ids = await askServer(demoUrl(firstShard(stack).primary.server), 'SELECT id FROM log')
  const found = new Map<string, number>()
  for (const id of ids) found.set(id ?? '', (found.get(id ?? '') ?? 0) + 1)
  const times = (id: string) => found.get(id) ?? 0
  const allowed: Readonly<Record<Fate, readonly number[]>> = {
    kept: [1],
    undone: [0],
    open: [0, 1],
  }
  const wrong = [...writes].filter(([id, fate]) => !allowed[fate].includes(times(id)))
  const torn = together.filter((all) => new Set(all.map(times)).size > 1)
  return [
    ...wrong.map(([id, fate]) => `${id} is ${fate}, and there ${times(id)} times`),
    ...torn.map((all) => `of ${all.join(' and ')} only one is there`),
  ]
}
