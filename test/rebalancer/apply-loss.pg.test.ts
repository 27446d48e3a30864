// Whatever is lost at whatever moment, every change arrives once: backends are ended and whole
// servers killed on both sides while rows change.
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { PostgresServer } from '../../demo/postgres-server.ts'
import { openRun, type Run } from '../../demo/run.ts'
import { chooseVersions } from '../support/server-provider.ts'
import { installationOf } from '../support/postgres-installation.ts'
import { createRandom, type Random } from '../support/random.ts'
import { type FollowFixture, openFollowFixture } from './apply-fixture.ts'

const ddl = `CREATE TABLE t (tenant_id bigint NOT NULL, id int NOT NULL, n int NOT NULL, v text,
    PRIMARY KEY (tenant_id, id));
  ALTER TABLE t ALTER v SET STORAGE EXTERNAL`
const tables = [{ name: 't', key: 'tenant_id', identity: ['tenant_id', 'id'] }]
const keys = 400
const workMs = 8_000
const seed = Number(process.env['RINGFENCE_SEED'] ?? Date.now() % 1_000_000)

describe.each(chooseVersions(process.env))('losses on PostgreSQL %i', (version) => {
  let run: Run
  let source: PostgresServer
  let target: PostgresServer
  let fixture: FollowFixture | null = null

  beforeAll(async () => {
    run = await openRun(null)
    const installation = await installationOf(version)
    const create = async (name: string) => {
      const settings = { shared_buffers: '16MB', logical_decoding_work_mem: '64kB' }
      const server = await PostgresServer.create({
        dir: join(run.dir, name),
        installation,
        settings,
      })
      await server.start()
      return server
    }
    source = await create('source')
    target = await create('target')
  })
  afterEach(async () => {
    await fixture?.close()
    fixture = null
  })
  afterAll(async () => {
    await Promise.all([source.stop('immediate'), target.stop('immediate')])
    await run.end()
  })

  it(`lose and double nothing (RINGFENCE_SEED=${seed})`, async () => {
    const random = createRandom(seed + version)
    const shards = [source, target].map((server, at) => ({ id: `s${at}`, url: server.url() }))
    fixture = await openFollowFixture({ servers: { version, shards }, ddl, tables })
    const follower = await fixture.follow()
    const writing = new AbortController()
    const writers = [1, 2].map((id) => {
      return write(fixture?.sourceUrl ?? '', id, createRandom(seed * 7 + id), writing.signal)
    })
    const lost = { targetBackend: 0, sourceBackend: 0, target: 0, source: 0 }
    const untilMs = performance.now() + workMs
    while (performance.now() < untilMs) {
      await delay(random.below(600))
      const kind = random.pick([
        'targetBackend',
        'sourceBackend',
        'targetBackend',
        'sourceBackend',
        'target',
        'source',
      ] as const)
      lost[kind] += 1
      if (kind === 'targetBackend') await endBackends(target)
      else if (kind === 'sourceBackend') await endBackends(source)
      else {
        const server = kind === 'target' ? target : source
        await server.kill()
        await delay(random.below(300))
        await server.start()
      }
    }
    writing.abort()
    const written = await Promise.all(writers)
    await fixture.caughtUp(follower)
    const { transactions } = follower.progress
    expect(await fixture.differences('t', 50)).toEqual([])
    expect(Math.min(...written)).toBeGreaterThan(10)
    expect(transactions).toBeGreaterThan(10)
    expect(lost.target + lost.source).toBeGreaterThan(0)
  }, 120_000)
})

/** Every backend that follows a move, on either side. A server that is lost at that moment has ended them itself. */
async function endBackends(server: PostgresServer): Promise<void> {
  const client = new Client({ connectionString: server.url() })
  client.on('error', () => undefined)
  const sql = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE application_name LIKE 'ringfence move%'`
  await client
    .connect()
    .then(() => client.query(sql))
    .catch(() => undefined)
  await client.end().catch(() => undefined)
}

/**
 * Changes rows until it is told to stop; gives the number of transactions that were acknowledged.
 */
async function write(
  url: string,
  id: number,
  random: Random,
  signal: AbortSignal,
): Promise<number> {
  let acknowledged = 0
  while (!signal.aborted) {
    const client = new Client({ connectionString: url })
    client.on('error', () => undefined)
    try {
      await client.connect()
      while (!signal.aborted) {
        await client.query(transactionOf(id, random))
        acknowledged += 1
      }
    } catch {
      await delay(20)
    } finally {
      await client.end().catch(() => undefined)
    }
  }
  return acknowledged
}

/**
 * Adds to what is there rather than setting it, so that a change applied twice or never is seen.
 */
function transactionOf(id: number, random: Random): string {
  const key = () => random.below(keys)
  const large = random.oneIn(4) ? `repeat(md5('${random.below(1e6)}'), 100)` : `'v'`
  switch (random.below(7)) {
    case 0:
      return `INSERT INTO t VALUES (${key()}, ${id}, 0, ${large}) ON CONFLICT DO NOTHING`
    case 1:
      return `INSERT INTO t SELECT ${key()} + g, ${id}, 0, ${large} FROM generate_series(0, 30) g
              ON CONFLICT (tenant_id, id) DO UPDATE SET n = t.n + 1`
    case 2:
      return `UPDATE t SET n = n + 1 WHERE id = ${id} AND tenant_id % 5 = ${random.below(5)}`
    case 3:
      return `BEGIN; UPDATE t SET n = n + 1 WHERE tenant_id = ${key()} AND id = ${id};
              DELETE FROM t WHERE tenant_id = ${key()} AND id = ${id}; COMMIT`
    case 4:
      return `DELETE FROM t WHERE id = ${id} AND tenant_id % 40 = ${random.below(40)}`
    case 5:
      return `BEGIN; INSERT INTO t SELECT 1000 + g, ${id}, 0, 'x' FROM generate_series(1, 3000) g
                ON CONFLICT (tenant_id, id) DO UPDATE SET n = t.n + 1; COMMIT`
    default:
      return `BEGIN; SAVEPOINT a; UPDATE t SET n = n + 100 WHERE id = ${id}; ROLLBACK TO a;
              UPDATE t SET n = n + 1 WHERE id = ${id} AND tenant_id < 50; COMMIT`
  }
}
