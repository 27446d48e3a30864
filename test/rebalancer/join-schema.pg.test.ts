// A schema read from one server and made on another is the same: part by part, in what depends on
// what, and for pg_dump.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'
import { randomBytes } from 'node:crypto'
import type { Client } from 'pg'
import { afterEach, describe, expect, it } from 'vitest'
import { moverServers } from '../support/mover-servers.ts'
import { openShard } from '../../rebalancer/copy/connection.ts'
import {
  createParts,
  planSchema,
  readSchema,
  type ShardSchema,
} from '../../rebalancer/join/schema-ddl.ts'
import { askServer, present } from '../support/clients.ts'
import { createDatabases, type TestDatabases } from '../support/databases.ts'
import { debianBinDir } from '../support/postgres-installation.ts'
import { sample18Sql, sampleSql } from './join-sample.ts'

const run = promisify(execFile)
const { signal } = new AbortController()

describe.each(moverServers())('a copied schema on PostgreSQL $version', (servers) => {
  const opened: { [Symbol.asyncDispose](): Promise<void> }[] = []
  const dropped: TestDatabases[] = []
  const roles: string[] = []
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((each) => each[Symbol.asyncDispose]()))
    await Promise.all(dropped.splice(0).map((each) => each.drop()))
    for (const role of roles.splice(0)) {
      for (const { url } of servers.shards) await askServer(url, `DROP ROLE IF EXISTS "${role}"`)
    }
  })

  /** Databases on two servers, with the roles on both. */
  async function pair() {
    const databases = await createDatabases(
      { ...servers, shards: servers.shards.slice(0, 2) },
      'join',
    )
    dropped.push(databases)
    const suffix = randomBytes(4).toString('hex')
    const names = { reader: `reader ${suffix}`, owner: `owner_${suffix}` }
    for (const role of Object.values(names)) {
      roles.push(role)
      for (const url of databases.urls) await askServer(url, `CREATE ROLE "${role}"`)
    }
    const connections = await Promise.all(databases.urls.map((url) => openShard(url, signal)))
    opened.push(...connections)
    const [home, fresh] = connections.map(({ client }) => client)
    return { names, urls: databases.urls, home: present(home), fresh: present(fresh) }
  }

  async function copy(home: Client, fresh: Client): Promise<ShardSchema> {
    const wanted = await readSchema(home)
    const plan = planSchema(wanted, await readSchema(fresh), 's4')
    expect(plan.problems).toEqual([])
    await fresh.query('BEGIN')
    const failed = await createParts(fresh, [...plan.before, ...plan.after, ...plan.rights])
    expect(failed).toEqual([])
    await fresh.query('COMMIT')
    return wanted
  }

  it('has every part of the original, and depends on the same', async () => {
    const { names, home, fresh } = await pair()
    await home.query(sampleSql(names))
    if (servers.version >= 18) await home.query(sample18Sql)
    const wanted = await copy(home, fresh)
    const made = await readSchema(fresh)
    const sorted = (schema: ShardSchema) =>
      [...schema.before, ...schema.after, ...schema.rights]
        .map(({ kind, name, sql }) => `${kind} ${name}: ${sql}`)
        .sort()
    expect(sorted(wanted).filter((part) => part.endsWith('null'))).toEqual([])
    // Materialized views stay at home, and what reads them.
    expect(wanted.homeOnly).toEqual(['app.of_summary', 'app.summary'])
    expect(sorted(made)).toEqual(sorted(wanted))
    expect(await dependencies(fresh)).toEqual(await dependencies(home))
  })

  it('is nothing to be made a second time', async () => {
    const { names, home, fresh } = await pair()
    await home.query(sampleSql(names))
    const wanted = await copy(home, fresh)
    const again = planSchema(wanted, await readSchema(fresh), 's4')
    expect(again).toMatchObject({ before: [], after: [], problems: [] })
    await fresh.query('BEGIN')
    expect(await createParts(fresh, again.rights)).toEqual([])
  })

  const pgDump = `${debianBinDir(servers.version)}/pg_dump`
  // The binaries of 18 come without it.
  if (!existsSync(pgDump)) return
  it('is the same to pg_dump', async () => {
    const { names, urls, home, fresh } = await pair()
    await home.query(sampleSql(names))
    await home.query('DROP MATERIALIZED VIEW app.summary CASCADE')
    await copy(home, fresh)
    const dumps = await Promise.all(urls.map((url) => run(pgDump, ['--schema-only', url])))
    const [one = [], other = []] = dumps.map(({ stdout }) => statementsOf(stdout))
    expect(one.length).toBeGreaterThan(100)
    expect(other).toEqual(one)
  })
})

/**
 * Statements without their comments, in any order; columns of a partition may be said to be its
 * parent's.
 */
function statementsOf(dump: string): readonly string[] {
  return dump
    .split(/;\n/)
    .map((statement) => statement.replaceAll(/^(?:--.*|\\.*)?\n/gm, '').trim())
    .sort()
}

async function dependencies(client: Client): Promise<readonly string[]> {
  const { rows } = await client.query<{ edge: string }>(`
    SELECT format('%s %s → %s %s %s', a.type,
      regexp_replace(a.identity, 'RI_ConstraintTrigger_._\\d+', 'foreign key'),
      b.type, b.identity, d.deptype) AS edge
    FROM pg_depend d
    CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) a
    CROSS JOIN LATERAL pg_identify_object(d.refclassid, d.refobjid, d.refobjsubid) b
    WHERE d.objid >= 16384 AND a.identity !~ 'summary|pg_toast' AND b.identity !~ 'pg_toast'
    ORDER BY 1`)
  return rows.map(({ edge }) => edge)
}
