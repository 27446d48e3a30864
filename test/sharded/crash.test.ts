// Servers that die, and a proxy that vanishes, at every moment of a two-phase commit: afterwards
// nothing is in doubt, all shards agree, and what the client was told is true.
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { recoverPrepared } from '../../catalog/recovery.ts'
import { shardId } from '../../core/ids.ts'
import { createLog } from '../../core/log.ts'
import { PostgresServer } from '../../demo/postgres-server.ts'
import { openRun, type Run } from '../../demo/run.ts'
import { installationOf } from '../support/postgres-installation.ts'
import { startStack, type Stack } from '../support/stack.ts'
import { type Moment, Relay } from './moment.ts'
import { type Reply, Side } from './side.ts'

const schema = `
CREATE TABLE products (id integer PRIMARY KEY, name text)

CREATE TABLE notes (tenant_id bigint NOT NULL, id integer, PRIMARY KEY (tenant_id, id))

INSERT INTO products VALUES (1, 'before')
`
const deadlineMs = 20_000
/** Where the client itself is told that it cannot know. */
const unknown: ReadonlySet<string> = new Set(['08006', '08007'])
const [home, second, third] = [0, 1, 2]

/** What may have become of a transaction whose client was told that. */
const truths = (error: Reply['error']): string[] => {
  if (error === null) return ['committed']
  return unknown.has(error.sqlstate) ? ['committed', 'rolledBack'] : ['rolledBack']
}

/** The decider is the home shard: it is the first to be written to. */
const moments: readonly {
  readonly name: string
  readonly shard: number
  readonly text: string
  readonly when: Moment['when']
  readonly dies: readonly number[] | 'proxy'
  readonly outcome: 'committed' | 'rolledBack'
}[] = [
  {
    name: 'a participant dies before it prepares',
    shard: second,
    text: 'PREPARE TRANSACTION',
    when: 'before',
    dies: [second],
    outcome: 'rolledBack',
  },
  {
    name: 'a participant dies once it has prepared, before anybody knows',
    shard: third,
    text: 'PREPARE TRANSACTION',
    when: 'answered',
    dies: [third],
    outcome: 'rolledBack',
  },
  {
    name: 'the decider dies before its decision',
    shard: home,
    text: 'decide_commit',
    when: 'before',
    dies: [home],
    outcome: 'rolledBack',
  },
  {
    name: 'the decider dies before its decision is committed',
    shard: home,
    text: 'COMMIT\0',
    when: 'before',
    dies: [home],
    outcome: 'rolledBack',
  },
  {
    name: 'the decider dies once it has decided, before anybody knows',
    shard: home,
    text: 'COMMIT\0',
    when: 'answered',
    dies: [home],
    outcome: 'committed',
  },
  {
    name: 'a participant dies after the decision',
    shard: second,
    text: 'COMMIT PREPARED',
    when: 'before',
    dies: [second],
    outcome: 'committed',
  },
  {
    name: 'all servers die after the decision',
    shard: third,
    text: 'COMMIT PREPARED',
    when: 'before',
    dies: [home, second, third],
    outcome: 'committed',
  },
  {
    name: 'the proxy vanishes before the decision',
    shard: home,
    text: 'decide_commit',
    when: 'before',
    dies: 'proxy',
    outcome: 'rolledBack',
  },
  {
    name: 'the proxy vanishes after the decision',
    shard: home,
    text: 'COMMIT\0',
    when: 'answered',
    dies: 'proxy',
    outcome: 'committed',
  },
]

describe.each(inject('servers'))('a crash on PostgreSQL $version', ({ version }) => {
  let run: Run
  let stack: Stack
  const servers: PostgresServer[] = []
  const relays: Relay[] = []

  beforeAll(async () => {
    run = await openRun(null)
    const installation = await installationOf(version)
    for (const id of ['s1', 's2', 's3']) {
      const server = await PostgresServer.create({ installation, dir: join(run.dir, id) })
      await server.start()
      servers.push(server)
      relays.push(await Relay.open(() => server.port))
    }
    const shards = servers.map((server, at) => {
      const url = new URL(server.url())
      url.port = String(relays[at]?.port)
      return { id: `s${at + 1}`, url: url.href }
    })
    stack = await startStack({ version, shards }, { shards: 3, setupSql: schema })
  }, deadlineMs)

  afterAll(async () => {
    await stack?.close()
    for (const relay of relays) await relay.close()
    await Promise.all(servers.map((server) => server.stop('immediate')))
    await run?.end()
  }, deadlineMs)

  const die = async (dies: readonly number[] | 'proxy') => {
    if (dies === 'proxy') for (const relay of relays) relay.cut()
    else await Promise.all(dies.map(async (shard) => servers[shard]?.kill()))
  }

  /** One column of one row on each shard, asked behind the proxy's back. */
  async function onEachShard(sql: string): Promise<string[]> {
    return Promise.all(
      stack.shardUrls.map(async (connectionString) => {
        const client = new Client({ connectionString })
        client.on('error', () => undefined)
        await client.connect()
        const { rows } = await client.query<[string]>({ text: sql, rowMode: 'array' })
        await client.end()
        return String(rows[0]?.[0])
      }),
    )
  }

  async function recover(): Promise<void> {
    for (const server of servers) if (!server.running) await server.start()
    const shards = stack.shardUrls.map((url, at) => ({ id: shardId(`s${at + 1}`), url }))
    const sql = 'SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()'
    const endMs = performance.now() + deadlineMs / 2
    // A round of the proxy's own may be under way, or the dead client's session still be rolling
    // back.
    for (;;) {
      await recoverPrepared({ shards, ageMsMin: 0, log: createLog('silent') })
      if ((await onEachShard(sql)).every((count) => count === '0')) return
      if (performance.now() > endMs) throw new Error('prepared transactions are left')
      await delay(50)
    }
  }

  /** A client's next tries, until the proxy has noticed which of its connections are dead. */
  async function asClient(sql: string): Promise<Reply> {
    const side = await Side.open(stack.proxy)
    try {
      for (let tries = 0; tries < 30; tries += 1) {
        const reply = await side.sql(sql)
        if (reply.error === null) return reply
        await delay(50)
      }
      throw new Error(`no answer to ${sql}`)
    } finally {
      side.close()
    }
  }

  it.each(moments)(
    '$name: $outcome',
    async (moment) => {
      const name = moment.name.replaceAll("'", '')
      await asClient("UPDATE products SET name = 'before'")
      await asClient('TRUNCATE notes')
      const side = await Side.open(stack.proxy)
      await side.sql('BEGIN')
      await side.sql(`UPDATE products SET name = '${name}'`)
      for (let key = 0; key < 12; key += 1) await side.sql(`INSERT INTO notes VALUES (${key}, 1)`)
      const relay = relays[moment.shard]
      let dying: Promise<void> | undefined
      const action = async () => {
        dying = die(moment.dies)
        await dying
      }
      relay?.expect({ ...moment, action })
      const { error } = await side.sql('COMMIT')
      side.close()
      expect(dying).toBeDefined()
      await dying
      await recover()
      const expected = moment.outcome === 'committed' ? name : 'before'
      expect(await onEachShard('SELECT name FROM products')).toEqual([expected, expected, expected])
      const notes = await onEachShard('SELECT count(*) FROM notes')
      expect(notes.reduce((sum, count) => sum + Number(count), 0)).toBe(
        moment.outcome === 'committed' ? 12 : 0,
      )
      expect(truths(error)).toContain(moment.outcome)
      const { results } = await asClient('SELECT name FROM products')
      expect(results[0]?.rows).toEqual([`("${expected}")`])
    },
    deadlineMs,
  )
})
