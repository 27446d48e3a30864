// What keeps a move from starting, found on real servers: all at once, each with its remedy.
import { type Client, escapeIdentifier } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { moverServers } from '../support/mover-servers.ts'
import { initialise } from '../../catalog/migrate.ts'
import { shardId } from '../../core/ids.ts'
import { findInstallation } from '../../demo/installation.ts'
import { PostgresServer } from '../../demo/postgres-server.ts'
import { openRun } from '../../demo/run.ts'
import { openShard } from '../../rebalancer/copy/connection.ts'
import { findProblems, type Problem, slotState, walRetained } from '../../rebalancer/readiness.ts'
import { askServer, connected } from '../support/clients.ts'
import { type MoveFixture, never, openMove, rules } from './copy-fixture.ts'

describe.each(moverServers())('readiness on PostgreSQL $version', (servers) => {
  let fixture: MoveFixture
  beforeAll(async () => {
    fixture = await openMove(servers, servers)
    await fixture.both('CREATE TABLE good (tenant_id bigint, id int PRIMARY KEY)')
  })
  afterAll(async () => await fixture.close())

  async function find(bytes: number | null = null, login?: string) {
    const urlOf = (url: string) => {
      if (login === undefined) return url
      const other = new URL(url)
      other.username = login
      other.password = 'secret'
      return other.href
    }
    await using source = await openShard(urlOf(fixture.source.url), never)
    await using target = await openShard(urlOf(fixture.target.url), never)
    const tables = await fixture.tables(fixture.source)
    const clients = { source: source.client, target: target.client }
    return await findProblems({ ...clients, rules, tables, bytes })
  }

  it('finds nothing wrong with a superuser and tables that are alike', async () => {
    expect(await find(1000)).toEqual({ problems: [], notes: [] })
  })

  it('knows when there is no room on the target', async () => {
    const { problems } = await find(1e15)
    expect(problems).toHaveLength(1)
    expect(problems[0]?.problem).toMatch(
      /^the target has \d+ bytes of disk space left for 1000000000000000 bytes of rows$/,
    )
    expect(problems[0]?.remedy).toContain('1200000000000000')
  })

  it('lists all that a plain login lacks, and its remedies work', async () => {
    const login = `mover_${fixture.name}`
    const role = escapeIdentifier(login)
    const [{ client: source }, { client: target }] = [fixture.source, fixture.target]
    const onBoth = async (sql: string) => {
      await source.query(sql)
      await target.query(sql)
    }
    await onBoth(`CREATE ROLE ${role} LOGIN PASSWORD 'secret'`)
    try {
      const before = await find(1000, login)
      expect(before.notes).toEqual([
        'the free disk space of the target is not known: its server may not run "df" for us',
      ])
      const texts = before.problems.map(({ problem }) => problem)
      expect(texts).toContain(`on the source, role "${login}" lacks REPLICATION`)
      expect(texts).toContain(`on the target, role "${login}" may not set session_replication_role`)
      expect(texts).toContain(
        `on the target, role "${login}" may not call pg_replication_origin_create()`,
      )
      expect(texts).toContain(
        'on the target, table public.good: public.good belongs to role postgres, which our login is no member of',
      )
      await follow(before.problems, source, target)
      await onBoth(`GRANT postgres TO ${role}`)
      const after = await find(1000, login)
      expect(after.problems).toEqual([])
    } finally {
      await onBoth(`DROP OWNED BY ${role}; DROP ROLE ${role}`)
    }
  })

  it('tells of tables that differ', async () => {
    await fixture.source.client.query('CREATE TABLE only_here (tenant_id bigint, id int)')
    const { problems } = await find()
    expect(problems.map(({ problem }) => problem)).toEqual([
      'on the source, table public.only_here: it has no primary key',
      'table public.only_here is missing on the target',
    ])
    expect(problems[0]?.remedy).toBe('ALTER TABLE … ADD PRIMARY KEY on every shard')
    await fixture.source.client.query('DROP TABLE only_here')
  })

  it('tells of a target in another encoding', async () => {
    const name = `ascii_${fixture.name}`
    const create = `CREATE DATABASE ${name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0`
    await askServer(fixture.target.url, create)
    const { href: url } = new URL(`/${name}`, fixture.target.url)
    try {
      await initialise({ shards: [{ id: shardId('s1'), url, weight: 1 }], rules })
      await askServer(url, 'CREATE TABLE good (tenant_id bigint, id int PRIMARY KEY)')
      await using source = await openShard(fixture.source.url, never)
      await using target = await openShard(url, never)
      const tables = await fixture.tables(fixture.source)
      const clients = { source: source.client, target: target.client }
      expect(await findProblems({ ...clients, rules, tables, bytes: null })).toEqual({
        notes: [],
        problems: [
          {
            problem: `the source's encoding is UTF8, the target's SQL_ASCII`,
            remedy: `create the target's database with ENCODING 'UTF8'`,
          },
        ],
      })
    } finally {
      await askServer(fixture.target.url, `DROP DATABASE ${name} WITH (FORCE)`)
    }
  })

  it('tells how a slot is doing', async () => {
    const slot = `slot_${fixture.name}`
    await using shard = await openShard(fixture.source.url, never)
    expect(await slotState(shard.client, slot)).toEqual({ kind: 'missing' })
    expect(await walRetained(shard.client, slot)).toBe(0)
    const create = `SELECT pg_create_logical_replication_slot('${slot}', 'pgoutput')`
    await fixture.source.client.query(create)
    try {
      const before = await slotState(shard.client, slot)
      expect(before).toMatchObject({ kind: 'present', active: false, walStatus: 'reserved' })
      await fixture.source.client.query(
        `CREATE TABLE retained AS SELECT repeat('x', 100) FROM generate_series(1, 10000)`,
      )
      expect(await walRetained(shard.client, slot)).toBeGreaterThan(1_000_000)
    } finally {
      await fixture.source.client.query(`SELECT pg_drop_replication_slot('${slot}')`)
    }
  })
})

/** Runs the remedies that are SQL, as an operator would. */
async function follow(problems: readonly Problem[], source: Client, target: Client): Promise<void> {
  for (const { problem, remedy } of problems) {
    if (!/^(GRANT|ALTER ROLE "[^"]+" [A-Z]+$)/.test(remedy)) continue
    await (problem.startsWith('on the source') ? source : target).query(remedy)
  }
}

describe('readiness of servers that are set up for something else', () => {
  it('names wal_level, slots, senders and a transaction that was left prepared', async () => {
    const run = await openRun(null)
    try {
      const server = await PostgresServer.create({
        dir: `${run.dir}/poor`,
        installation: await findInstallation('embedded'),
        settings: {
          wal_level: 'replica',
          max_replication_slots: 1,
          max_wal_senders: 1,
          max_active_replication_origins: 0,
        },
      })
      await server.start()
      const client = await connected({ connectionString: server.url() })
      await client.query(`BEGIN; CREATE TABLE held (); PREPARE TRANSACTION 'left over'`)
      await initialise({ shards: [{ id: shardId('s1'), url: server.url(), weight: 1 }], rules })
      await using shard = await openShard(server.url(), never)
      const options = { source: shard.client, target: shard.client, rules, tables: [], bytes: null }
      const problems = (await findProblems(options)).problems.map(({ problem }) => problem)
      const each = (text: string) => [`on the source, ${text}`, `on the target, ${text}`]
      const expected = [
        ...each('wal_level is replica'),
        ...each('1 replication slots are free, 2 are needed'),
        ...each('1 WAL senders are free, 2 are needed'),
        ...each('max_active_replication_origins is 0'),
      ]
      expect(problems.toSorted()).toEqual(expected.toSorted())
      await client.query('SELECT pg_sleep(0.01)')
      const strict = await findProblems({ ...options, preparedAgeMaxMs: 1 })
      const named = strict.problems.filter(({ problem }) => !problems.includes(problem))
      expect(named.map(({ remedy }) => remedy)).toEqual([
        `in that database, COMMIT PREPARED or ROLLBACK PREPARED 'left over'`,
      ])
      await client.end()
      await server.stop('immediate')
    } finally {
      await run.end()
    }
  })
})
