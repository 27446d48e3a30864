// How fast rows are copied: the same rows of one server go to another by our copy, out of a
// snapshot and filtered by virtual node, and by the initial table copy of a subscription of
// PostgreSQL's own. Figures are rows per second from the first command to the last row committed.
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { initialise } from '../catalog/migrate.ts'
import { assert } from '../core/assert.ts'
import { systemClock } from '../core/clock.ts'
import { shardId, vnode } from '../core/ids.ts'
import type { Installation } from '../demo/installation.ts'
import { PostgresServer } from '../demo/postgres-server.ts'
import { superuser } from '../demo/roles.ts'
import { openRun } from '../demo/run.ts'
import { withClient } from '../demo/sql.ts'
import { openShard } from '../rebalancer/copy/connection.ts'
import { copyTable } from '../rebalancer/copy/copy-table.ts'
import { openSnapshot } from '../rebalancer/copy/snapshot.ts'
import { readMovedTables } from '../rebalancer/tables.ts'
import { Throttle } from '../rebalancer/throttle.ts'
import { unlimited } from '../rebalancer/throttle-verdict.ts'
import { verify } from '../rebalancer/verify/verify.ts'
import type { ShardingRules } from '../router/schema.ts'

export type CopyResult = {
  readonly rows: number
  /**
   * Rows per second of our copy and of subscriptions that copy as text, their default, and as
   * binary.
   */
  readonly copyRate: number
  readonly subscriptionRate: number
  readonly binarySubscriptionRate: number
  /** Rows per second that are compared on both servers at once. */
  readonly verifyRate: number
}

const rows = 1_000_000
const workers = 2
const deadlineMs = 300_000
const subscription = 'bench_copy'
const tableSql = `CREATE TABLE orders (id bigint PRIMARY KEY, tenant_id bigint NOT NULL,
  state int NOT NULL, total numeric(10, 2), made_at timestamptz NOT NULL, note text)`
const rules: ShardingRules = {
  key: 'tenant_id',
  keyType: 'bigint',
  vnodeCount: 4096,
  tables: new Map(),
}
/** Subscriptions can copy as binary since version 16; asked of an older source too. */
const binarySince = 16

type Servers = { readonly source: PostgresServer; readonly target: PostgresServer }

/** Copies the same rows so often, each way; the order changes from round to round. */
export async function measureCopy(
  installation: Installation,
  rounds: number,
  signal: AbortSignal,
): Promise<readonly CopyResult[]> {
  const run = await openRun(null)
  await using resources = new AsyncDisposableStack()
  resources.defer(() => run.end())
  const settings = { shared_buffers: '512MB', max_wal_size: '8GB', autovacuum: 'off', jit: 'off' }
  const start = async (name: string) => {
    const dir = join(run.dir, name)
    const server = await PostgresServer.create({ dir, installation, settings })
    await server.start()
    resources.defer(() => server.stop('immediate'))
    return server
  }
  const servers = { source: await start('source'), target: await start('target') }
  await fill(servers)
  const subscribe = (binary: boolean) => copyBySubscription(servers, binary, signal)
  const canBinary = installation.version >= binarySince
  const results: CopyResult[] = []
  while (results.length < rounds) {
    const rates = new Map<string, number>()
    const ways: readonly (readonly [string, () => Promise<void>])[] = [
      ['subscription', () => subscribe(false)],
      ['copy', () => copyByMover(servers, signal)],
      ['binary', () => subscribe(canBinary)],
    ]
    for (const [name, copy] of results.length % 2 === 0 ? ways : ways.toReversed()) {
      signal.throwIfAborted()
      rates.set(name, await rateOf(servers, copy))
    }
    const rate = (name: string) => rates.get(name) ?? 0
    const verifyRate = await rateOfVerify(servers, signal)
    results.push({
      rows,
      copyRate: rate('copy'),
      subscriptionRate: rate('subscription'),
      binarySubscriptionRate: rate('binary'),
      verifyRate,
    })
  }
  return results
}

async function fill({ source, target }: Servers): Promise<void> {
  const shards = [source, target].map((server, index) => {
    return { id: shardId(`s${index + 1}`), url: server.url(), weight: 1 }
  })
  await initialise({ shards, rules })
  await withClient(target.url(), (client) => client.query(tableSql))
  await withClient(source.url(), async (client) => {
    await client.query(tableSql)
    await client.query(
      `INSERT INTO orders
       SELECT i, i % 10000, i % 5, i / 7.0, now(), 'the note of order ' || i || ', which is short'
       FROM generate_series(1, ${rows}) i`,
    )
    await client.query('CREATE PUBLICATION bench_copy FOR TABLE orders')
    await client.query('VACUUM ANALYZE orders')
  })
}

/** Rows per second into an empty table. */
async function rateOf({ target }: Servers, copy: () => Promise<void>): Promise<number> {
  await withClient(target.url(), async (client) => {
    await client.query('TRUNCATE orders')
    await client.query('CHECKPOINT')
  })
  const beginMs = performance.now()
  await copy()
  const tookMs = performance.now() - beginMs
  await withClient(target.url(), async (client) => {
    // With its slot; that is no part of copying.
    await client.query(`DROP SUBSCRIPTION IF EXISTS ${subscription}`)
    const counted = await client.query<{ rows: string }>('SELECT count(*) AS rows FROM orders')
    assert(Number(counted.rows[0]?.rows) === rows, 'every row was copied once')
  })
  return rows / (tookMs / 1_000)
}

async function copyByMover({ source, target }: Servers, signal: AbortSignal): Promise<void> {
  const what = await readWhat(source, signal)
  const snapshot = await openSnapshot(source.url(), signal)
  try {
    await copyTable({
      ...what,
      sourceUrl: source.url(),
      targetUrl: target.url(),
      snapshot: snapshot.name,
      onProgress: () => undefined,
    })
  } finally {
    await snapshot.close()
  }
}

/** The target has all rows, by whichever way they came. */
async function rateOfVerify({ source, target }: Servers, signal: AbortSignal): Promise<number> {
  const { table, ...what } = await readWhat(source, signal)
  const ofSource = await openSnapshot(source.url(), signal)
  const ofTarget = await openSnapshot(target.url(), signal)
  const beginMs = performance.now()
  try {
    const found = await verify({
      ...what,
      tables: [table],
      sourceUrl: source.url(),
      sourceSnapshot: ofSource.name,
      targetUrl: target.url(),
      targetSnapshot: ofTarget.name,
      onProgress: () => undefined,
    })
    assert(found.rows === rows && found.differing === 0, 'copied rows are the same')
    return rows / ((performance.now() - beginMs) / 1_000)
  } finally {
    await ofSource.close()
    await ofTarget.close()
  }
}

/** What is copied and compared: all rows of the table. */
async function readWhat(source: PostgresServer, signal: AbortSignal) {
  await using connection = await openShard(source.url(), signal)
  const [table] = await readMovedTables(connection.client, rules)
  assert(table !== undefined, 'the table is sharded')
  const vnodes = Array.from({ length: rules.vnodeCount }, (_, index) => vnode(index))
  const throttle = new Throttle(unlimited, systemClock)
  return { table, set: { vnodes, keys: [], except: [] }, rules, workers, throttle, signal }
}

/** Until its table is synchronised; leaves the subscription. */
async function copyBySubscription(
  { source, target }: Servers,
  binary: boolean,
  signal: AbortSignal,
): Promise<void> {
  const { port, password } = source
  const login = `user=${superuser} password=${password}`
  const conninfo = `host=127.0.0.1 port=${port} ${login} dbname=postgres`
  await withClient(target.url(), async (client) => {
    await client.query(
      `CREATE SUBSCRIPTION ${subscription} CONNECTION '${conninfo}' PUBLICATION bench_copy
       WITH (binary = ${binary})`,
    )
    const endMs = performance.now() + deadlineMs
    const copied = `SELECT FROM pg_subscription_rel WHERE srsubstate IN ('s', 'r')`
    while ((await client.query(copied)).rowCount === 0) {
      signal.throwIfAborted()
      assert(performance.now() < endMs, 'a subscription copies in time')
      await delay(5)
    }
  })
}
