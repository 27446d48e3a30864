// A database of one's own on every shard: tests that share servers do not share rows.
import { randomBytes } from 'node:crypto'
import { Client } from 'pg'
import type { TestServers } from './servers.ts'

export type TestDatabases = {
  /** The same on every shard. */
  readonly name: string
  /** The superuser's, one per shard, home shard first. */
  readonly urls: readonly string[]
  /** Ends every session on the databases and removes them, prepared transactions included. */
  drop(): Promise<void>
}

/** Creates a database named `<prefix>_<random>` on every shard of `servers`. */
export async function createDatabases(
  servers: TestServers,
  prefix: string,
): Promise<TestDatabases> {
  const name = `${prefix}_${randomBytes(4).toString('hex')}`
  const targets = servers.shards.map(({ url }) => {
    const target = new URL(url)
    target.pathname = `/${name}`
    return { server: url, database: target.href }
  })
  await Promise.all(targets.map(({ server }) => run(server, [`CREATE DATABASE "${name}"`])))
  const drop = async () => {
    await Promise.all(targets.map((target) => dropOne(target.server, target.database, name)))
  }
  return { name, urls: targets.map(({ database }) => database), drop }
}

async function dropOne(server: string, database: string, name: string): Promise<void> {
  // A prepared transaction keeps its database from being dropped, WITH (FORCE) or not.
  const sql = `SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts
               WHERE database = current_database()`
  const [rollbacks = []] = await run(database, [sql])
  await run(database, rollbacks)
  await run(server, [`DROP DATABASE "${name}" WITH (FORCE)`])
}

/** First column of every statement's rows. */
async function run(url: string, statements: readonly string[]): Promise<string[][]> {
  if (statements.length === 0) return []
  const client = new Client({ connectionString: url })
  client.on('error', () => undefined)
  await client.connect()
  try {
    const answers: string[][] = []
    for (const sql of statements) {
      const { rows } = await client.query<string[]>({ text: sql, rowMode: 'array' })
      answers.push(rows.map(([first]) => first ?? ''))
    }
    return answers
  } finally {
    await client.end()
  }
}
