// A source and a target with the same tables, a slot and a publication, and a follower between
// them.
import { randomBytes, randomInt } from 'node:crypto'
import { Client, escapeIdentifier } from 'pg'
import { initialise } from '../../catalog/migrate.ts'
import { shardId, vnode } from '../../core/ids.ts'
import { createLog } from '../../core/log.ts'
import { type Lsn, lsn, parseLsn } from '../../core/lsn.ts'
import { type FollowOptions, Follower } from '../../rebalancer/apply/follower.ts'
import { type MovedSet, movedSetSql } from '../../router/moved-set.ts'
import type { KeyType } from '../../router/schema.ts'
import { createDatabases } from '../support/databases.ts'
import type { TestServers } from '../support/servers.ts'

type FixtureTable = {
  readonly name: string
  readonly key: string
  readonly identity: readonly string[]
}

export type FollowFixture = {
  readonly source: Client
  readonly target: Client
  readonly sourceUrl: string
  readonly targetUrl: string
  readonly name: string
  readonly options: FollowOptions
  /** Starts a follower that `close` will stop. */
  readonly follow: (options?: Partial<FollowOptions>) => Promise<Follower>
  /** Waits until the target has what the source has committed by now. */
  readonly caughtUp: (follower: Follower) => Promise<void>
  /** How the rows of the set differ, and the target's other rows from the given number of them. */
  readonly differences: (
    table: string,
    rowsMin: number,
    strangers?: number,
  ) => Promise<readonly string[]>
  close(): Promise<void>
}

const vnodeBits = 12

/** Every second virtual node. */
const halfSet: MovedSet = {
  vnodes: Array.from({ length: 2048 }, (_, index) => vnode(index * 2)),
  keys: [],
  except: [],
}

export type FixtureOptions = {
  readonly servers: TestServers
  /** Runs on both sides. */
  readonly ddl: string
  readonly tables: readonly FixtureTable[]
  readonly set?: MovedSet
  readonly keyType?: KeyType
}

/** Two databases on two servers. */
export async function openFollowFixture(given: FixtureOptions): Promise<FollowFixture> {
  const { servers, ddl, tables, set = halfSet, keyType = 'bigint' } = given
  const databases = await createDatabases(servers, 'follow')
  const [sourceUrl = '', targetUrl = ''] = databases.urls
  const shards = [sourceUrl, targetUrl].map((url, index) => {
    return { id: shardId(`s${index + 1}`), url, weight: 1 }
  })
  const rules = { key: 'tenant_id', keyType, vnodeCount: 2 ** vnodeBits, tables: new Map() }
  await initialise({ shards, rules })
  const source = await connect(sourceUrl)
  const target = await connect(targetUrl)
  await Promise.all([source.query(ddl), target.query(ddl)])
  await target.query(
    `CREATE TABLE IF NOT EXISTS ringfence.move_progress
      (move_id bigint, direction text, lsn pg_lsn, PRIMARY KEY (move_id, direction))`,
  )
  const moveId = randomInt(1_000_000_000)
  const slot = `ringfence_${randomBytes(4).toString('hex')}`
  const list = tables.map(({ name }) => name).join(', ')
  await source.query(
    `CREATE PUBLICATION moved FOR TABLE ${list} WITH (publish_via_partition_root = true)`,
  )
  const startLsn = await createSlot(source, slot)
  const options: FollowOptions = {
    sourceUrl,
    targetUrl,
    slot,
    publication: 'moved',
    moveId,
    direction: 'forward',
    set,
    keyType,
    vnodeBits,
    tables: tables.map((table) => ({ schema: 'public', fromLsn: lsn(0n), ...table })),
    startLsn,
    log: createLog('silent'),
  }
  const followers: Follower[] = []
  return {
    source,
    target,
    sourceUrl,
    targetUrl,
    name: databases.name,
    options,
    follow: async (changed = {}) => {
      const follower = await Follower.start({ ...options, ...changed })
      followers.push(follower)
      return follower
    },
    caughtUp: async (follower) => {
      const position = await currentLsn(sourceUrl)
      await follower.reached(position, AbortSignal.timeout(60_000))
    },
    differences: async (name, rowsMin, strangers = 0) => {
      const key = escapeIdentifier(tables.find((table) => table.name === name)?.key ?? '')
      const member = movedSetSql(set, key, keyType)
      const sql = `SELECT t::text AS row, ${member} AS moved FROM ${escapeIdentifier(name)} t`
      const ask = async (url: string) => {
        const client = await connect(url)
        const { rows } = await client.query<{ row: string; moved: boolean }>(sql)
        await client.end()
        return rows
      }
      const [there, here] = [await ask(sourceUrl), await ask(targetUrl)]
      const wanted = new Set(there.flatMap(({ row, moved }) => (moved ? [row] : [])))
      const found = here.flatMap(({ row, moved }) => (moved ? [row] : []))
      const extra = found.filter((row) => !wanted.has(row)).map((row) => `extra ${row}`)
      const present = new Set(found)
      const missing = [...wanted].filter((row) => !present.has(row)).map((row) => `missing ${row}`)
      const others = here.length - found.length
      return [
        ...extra.slice(0, 5),
        ...missing.slice(0, 5),
        ...(present.size === found.length ? [] : ['a row is there twice']),
        ...(wanted.size >= rowsMin ? [] : [`only ${wanted.size} rows`]),
        ...(others === strangers ? [] : [`${others} rows that are not of the set`]),
      ]
    },
    close: async () => {
      await Promise.all(followers.map((follower) => follower.stop()))
      await source.end()
      await target.end()
      await dropSlot(sourceUrl, slot)
      await databases.drop()
      await dropOrigin(targetUrl, `ringfence_${moveId}_forward`)
    },
  }
}

/** A connection whose loss does not end the process. */
export async function connect(url: string): Promise<Client> {
  const client = new Client({ connectionString: url, application_name: 'test' })
  client.on('error', () => undefined)
  await client.connect()
  return client
}

/** Where the log of the server stands. */
export async function currentLsn(url: string): Promise<Lsn> {
  const client = await connect(url)
  const { rows } = await client.query<{ at: string }>('SELECT pg_current_wal_insert_lsn() AS at')
  await client.end()
  return parseLsn(rows[0]?.at ?? '') ?? lsn(0n)
}

async function createSlot(source: Client, slot: string): Promise<Lsn> {
  const { rows } = await source.query<{ lsn: string }>(
    'SELECT lsn FROM pg_create_logical_replication_slot($1, $2)',
    [slot, 'pgoutput'],
  )
  return parseLsn(rows[0]?.lsn ?? '') ?? lsn(0n)
}

async function dropSlot(url: string, slot: string): Promise<void> {
  const client = await connect(url)
  await client.query(
    'SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1',
    [slot],
  )
  for (let attempt = 0; attempt < 50; attempt += 1) {
    const { rows } = await client.query<{ busy: boolean }>(
      'SELECT active AS busy FROM pg_replication_slots WHERE slot_name = $1',
      [slot],
    )
    if (rows[0]?.busy !== true) break
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  await client.query(
    'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1',
    [slot],
  )
  await client.end()
}

/** Origins belong to the server: those of a database that is gone would stay. */
async function dropOrigin(url: string, origin: string): Promise<void> {
  const server = new URL(url)
  server.pathname = '/postgres'
  const client = await connect(server.href)
  await client.query(
    'SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin WHERE roname = $1',
    [origin],
  )
  await client.end()
}
