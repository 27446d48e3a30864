// How fast changes are applied: rows change on one server while nobody listens, then a follower of
// ours brings another server up to date, and then a subscription of PostgreSQL's own does the same.
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { assert } from '../core/assert.ts'
import { vnode } from '../core/ids.ts'
import { createLog } from '../core/log.ts'
import { lsn, parseLsn } from '../core/lsn.ts'
import type { Installation } from '../demo/installation.ts'
import { PostgresServer } from '../demo/postgres-server.ts'
import { openRun } from '../demo/run.ts'
import { withClient } from '../demo/sql.ts'
import { Follower } from '../rebalancer/apply/follower.ts'

export type ApplyResult = {
  readonly changes: number
  /** Changes per second of our follower and of PostgreSQL's apply worker. */
  readonly followerRate: number
  readonly subscriptionRate: number
}

const vnodeBits = 12
const rows = 100_000
const roundsOfUpdates = 2
const deadlineMs = 300_000
const subscription = 'bench_subscription'

const tables = `CREATE SCHEMA ringfence;
  CREATE TABLE ringfence.move_progress
    (move_id bigint, direction text, lsn pg_lsn, PRIMARY KEY (move_id, direction));
  CREATE TABLE orders (tenant_id bigint NOT NULL, id bigint NOT NULL, state int NOT NULL,
    total numeric(10, 2) NOT NULL, note text, made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id))`

/** Transactions of ten rows: inserts first, then updates of all rows, then deletes of a half. */
const changes = `DO $$
  BEGIN
    FOR i IN 1..${rows / 10} LOOP
      INSERT INTO orders SELECT i * 10 + g, i, 0, i / 7.0, 'order ' || i
        FROM generate_series(1, 10) g;
      COMMIT;
    END LOOP;
    FOR r IN 1..${roundsOfUpdates} LOOP
      FOR i IN 1..${rows / 10} LOOP
        UPDATE orders SET state = r, total = total + 1
          WHERE tenant_id BETWEEN i * 10 + 1 AND i * 10 + 10 AND id = i;
        COMMIT;
      END LOOP;
    END LOOP;
    FOR i IN 1..${rows / 10} LOOP
      DELETE FROM orders WHERE tenant_id BETWEEN i * 10 + 1 AND i * 10 + 5 AND id = i;
      COMMIT;
    END LOOP;
  END $$`
const changesCount = rows + roundsOfUpdates * rows + rows / 2

/** Applies the same changes so often, both ways. */
export async function measureApply(
  installation: Installation,
  rounds: number,
  signal: AbortSignal,
): Promise<readonly ApplyResult[]> {
  const run = await openRun(null)
  await using resources = new AsyncDisposableStack()
  resources.defer(() => run.end())
  const settings = { shared_buffers: '256MB', max_wal_size: '4GB', autovacuum: 'off', jit: 'off' }
  const start = async (name: string) => {
    const server = await PostgresServer.create({
      dir: join(run.dir, name),
      installation,
      settings,
    })
    await server.start()
    resources.defer(() => server.stop('immediate'))
    return server
  }
  const source = await start('source')
  const target = await start('target')
  const results: ApplyResult[] = []
  while (results.length < rounds) {
    signal.throwIfAborted()
    const followerMs = await once(source, target, `ours_${results.length}`, follow)
    const subscriptionMs = await once(source, target, `theirs_${results.length}`, subscribe)
    results.push({
      changes: changesCount,
      followerRate: (changesCount / followerMs) * 1000,
      subscriptionRate: (changesCount / subscriptionMs) * 1000,
    })
  }
  return results
}

type Side = { readonly sourceUrl: string; readonly targetUrl: string; readonly slotLsn: string }

/**
 * Milliseconds that `apply` takes for changes that wait behind a slot; in a database of their own.
 */
async function once(
  source: PostgresServer,
  target: PostgresServer,
  database: string,
  apply: (side: Side) => Promise<number>,
): Promise<number> {
  const [sourceUrl, targetUrl] = [source.url(database), target.url(database)]
  for (const server of [source, target]) {
    await withClient(server.url(), (client) => client.query(`CREATE DATABASE ${database}`))
    await withClient(server.url(database), (client) => client.query(tables))
  }
  const slotLsn = await withClient(sourceUrl, async (client) => {
    await client.query('CREATE PUBLICATION moved FOR TABLE orders')
    const { rows } = await client.query<{ lsn: string }>(
      `SELECT lsn FROM pg_create_logical_replication_slot('moved', 'pgoutput')`,
    )
    await client.query('SET synchronous_commit = off')
    await client.query(changes)
    await client.query('CHECKPOINT')
    return rows[0]?.lsn ?? ''
  })
  const tookMs = await apply({ sourceUrl, targetUrl, slotLsn })
  const count = (url: string) =>
    withClient(url, async (client) => {
      const sql = 'SELECT count(*)::int AS n, sum(total) AS total FROM orders WHERE state > 0'
      return JSON.stringify((await client.query(sql)).rows)
    })
  assert((await count(sourceUrl)) === (await count(targetUrl)), 'both sides have the same rows')
  await withClient(sourceUrl, (client) => client.query(`SELECT pg_drop_replication_slot('moved')`))
  return tookMs
}

async function follow({ sourceUrl, targetUrl, slotLsn }: Side): Promise<number> {
  const startLsn = parseLsn(slotLsn)
  assert(startLsn !== undefined, 'a slot has a position')
  const end = parseLsn(await position(sourceUrl))
  assert(end !== undefined, 'a server has a position')
  const startedMs = performance.now()
  const follower = await Follower.start({
    sourceUrl,
    targetUrl,
    slot: 'moved',
    publication: 'moved',
    moveId: 1,
    direction: 'forward',
    set: {
      vnodes: Array.from({ length: 2 ** vnodeBits }, (_, at) => vnode(at)),
      keys: [],
      except: [],
    },
    keyType: 'bigint',
    vnodeBits,
    tables: [
      {
        schema: 'public',
        name: 'orders',
        key: 'tenant_id',
        identity: ['tenant_id', 'id'],
        fromLsn: lsn(0n),
      },
    ],
    startLsn,
    log: createLog('warn'),
  })
  await follower.reached(end, AbortSignal.timeout(deadlineMs))
  const tookMs = performance.now() - startedMs
  assert(follower.progress.changes === changesCount, 'every change was applied')
  await follower.stop()
  return tookMs
}

/** PostgreSQL's own apply worker. */
async function subscribe({ sourceUrl, targetUrl }: Side): Promise<number> {
  const end = await position(sourceUrl)
  const startedMs = performance.now()
  await withClient(targetUrl, (client) =>
    client.query(
      `CREATE SUBSCRIPTION ${subscription} CONNECTION '${sourceUrl}' PUBLICATION moved
       WITH (slot_name = 'moved', create_slot = false, copy_data = false, binary = true)`,
    ),
  )
  await withClient(sourceUrl, async (client) => {
    const sql = `SELECT confirmed_flush_lsn >= $1::pg_lsn AS done FROM pg_replication_slots
                 WHERE slot_name = 'moved'`
    for (;;) {
      const { rows } = await client.query<{ done: boolean }>(sql, [end])
      if (rows[0]?.done === true) return
      assert(performance.now() - startedMs < deadlineMs, 'a subscription catches up')
      await delay(20)
    }
  })
  const tookMs = performance.now() - startedMs
  await withClient(targetUrl, async (client) => {
    await client.query(`ALTER SUBSCRIPTION ${subscription} DISABLE`)
    await client.query(`ALTER SUBSCRIPTION ${subscription} SET (slot_name = NONE)`)
    await client.query(`DROP SUBSCRIPTION ${subscription}`)
  })
  // The walsender needs a moment to notice.
  await delay(500)
  return tookMs
}

function position(url: string): Promise<string> {
  return withClient(url, async (client) => {
    const { rows } = await client.query<{ at: string }>('SELECT pg_current_wal_lsn() AS at')
    return rows[0]?.at ?? ''
  })
}
