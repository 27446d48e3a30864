// How long clients wait when a primary is lost: it is killed under a load of writes, its replica is promoted, and the
// time counts from the first write that the new primary accepts directly to the first one through the proxy.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'pg'
import { assert } from '../core/assert.ts'
import { demoUrl } from '../demo/cluster.ts'
import type { Installation } from '../demo/installation.ts'
import { demoRole } from '../demo/roles.ts'
import { openRun } from '../demo/run.ts'
import { withClient } from '../demo/sql.ts'
import { type ReplicatedHost, ReplicatedShard } from '../test/support/replicated-shard.ts'
import { serveRingfence } from './ringfence-peers.ts'
import { databaseUrl } from './servers.ts'

export type PromotionResult = {
  /** From the kill to the first write that the new primary accepts. */
  readonly acceptedMs: number
  /** From then to the first write that is acknowledged through the proxy. */
  readonly firstWriteMs: number
  /** Of the writers: those that were in flight when the primary died. */
  readonly errors: number
}

const writers = 8
const beforeMs = 500
const deadlineMs = 20_000
const write = 'INSERT INTO promoted DEFAULT VALUES'

/** Kills and promotes so often; the two servers take turns. */
export async function measurePromotions(
  installation: Installation,
  rounds: number,
  signal: AbortSignal,
): Promise<readonly PromotionResult[]> {
  const run = await openRun(null)
  await using resources = new AsyncDisposableStack()
  resources.defer(() => run.end())
  const options = { id: 's1', dir: run.dir, replicas: 1, installation, synchronous: false }
  const shard = await ReplicatedShard.start({ ...options, settings: {} })
  resources.defer(() => shard.stop())
  const table = 'CREATE TABLE promoted (id bigserial PRIMARY KEY)'
  await withClient(demoUrl(shard.primary.server), (client) => client.query(table))
  const proxy = await startProxy(shard, join(run.dir, 'proxy'))
  resources.defer(() => proxy.stop())
  const results: PromotionResult[] = []
  while (results.length < rounds) {
    signal.throwIfAborted()
    results.push(await promoteOnce(shard, databaseUrl(proxy, demoRole.database)))
    await shard.rejoin(other(shard))
  }
  return results
}

async function startProxy(shard: ReplicatedShard, dir: string) {
  await mkdir(dir)
  const { name, password, database } = demoRole
  const url = ({ port }: ReplicatedHost) => `postgres://127.0.0.1:${port}/${database}`
  const settings = {
    server_user: { name, password },
    shards: [{ id: shard.id, primary: url(shard.primary), replicas: shard.replicas.map(url) }],
  }
  return serveRingfence(dir, { databases: { [database]: settings } }, database)
}

async function promoteOnce(shard: ReplicatedShard, url: string): Promise<PromotionResult> {
  const next = other(shard)
  const load = new Load()
  const working = Array.from({ length: writers }, () => load.write(url))
  try {
    await delay(beforeMs)
    const killedMs = performance.now()
    await shard.kill(shard.primary)
    const accepted = firstWrite(demoUrl(next.server), killedMs)
    await shard.promote(next)
    const acceptedAtMs = await accepted
    while (load.lastMs < acceptedAtMs && performance.now() < killedMs + deadlineMs) await delay(1)
    assert(load.firstAfterMs(acceptedAtMs) !== null, 'writes go on through the proxy')
    return {
      acceptedMs: acceptedAtMs - killedMs,
      firstWriteMs: (load.firstAfterMs(acceptedAtMs) ?? 0) - acceptedAtMs,
      errors: load.errors,
    }
  } finally {
    load.stop()
    await Promise.all(working)
  }
}

/** Writers, and when what they wrote was acknowledged. */
class Load {
  readonly #acknowledgedMs: number[] = []
  #stopped = false
  errors = 0

  get lastMs(): number {
    return this.#acknowledgedMs.at(-1) ?? 0
  }

  firstAfterMs(ms: number): number | null {
    return this.#acknowledgedMs.find((atMs) => atMs >= ms) ?? null
  }

  stop(): void {
    this.#stopped = true
  }

  async write(url: string): Promise<void> {
    const client = new Client({ connectionString: url })
    client.on('error', () => undefined)
    await client.connect()
    while (!this.#stopped) {
      try {
        await client.query(write)
        this.#acknowledgedMs.push(performance.now())
      } catch {
        this.errors += 1
        await delay(5)
      }
    }
    await client.end()
  }
}

/** Tries to write past the proxy until it succeeds; gives the time. */
async function firstWrite(url: string, killedMs: number): Promise<number> {
  while (performance.now() < killedMs + deadlineMs) {
    const written = await withClient(url, (client) => client.query(write)).then(
      () => true,
      () => false,
    )
    if (written) return performance.now()
    await delay(2)
  }
  throw new Error('the promoted server accepts no write')
}

function other(shard: ReplicatedShard): ReplicatedHost {
  const [next] = shard.replicas
  assert(next !== undefined, 'there are two servers')
  return next
}
