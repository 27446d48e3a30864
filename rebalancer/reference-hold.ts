// Writes to reference tables held for the moment in which two shards are looked at together: a cascade of theirs reaches both
// shards in one two-phase transaction, but not at one instant. The lock is the one that those writes take themselves
// (proxy/execute/everywhere.ts), in their order: home first.
import type { Client } from 'pg'
import { advisoryLocks } from '../catalog/connection.ts'
import type { Move } from '../catalog/move-store.ts'
import type { ShardId } from '../core/ids.ts'
import { type MoveShards, shardOf, sides } from './move-shards.ts'
import type { MovedTable } from './tables.ts'

export type HoldOptions = {
  readonly shards: MoveShards
  readonly move: Move
  /** The home shard and a connection to it. */
  readonly home: ShardId
  readonly catalog: Client
  readonly tables: readonly MovedTable[]
  readonly signal: AbortSignal
}

/** Held until it is disposed of. */
type Hold = { [Symbol.asyncDispose](): Promise<void> }

const lock = `SELECT pg_advisory_lock(${advisoryLocks.referenceWrite})`
const unlock = `SELECT pg_advisory_unlock(${advisoryLocks.referenceWrite})`
const waitMs = 10_000

/** Holds nothing where no foreign key changes rows by itself. @throws pg's error 55P03 when a writer does not end */
export async function holdReferenceWrites(options: HoldOptions): Promise<Hold> {
  const { shards, move, home, catalog, tables, signal } = options
  const connections: Awaited<ReturnType<MoveShards['open']>>[] = []
  const locked: Client[] = []
  const release = async () => {
    for (const client of locked) await client.query(unlock).catch(() => undefined)
    for (const connection of connections) await connection[Symbol.asyncDispose]()
  }
  try {
    const source = await shards.open(move, 'source', signal)
    connections.push(source)
    if (!(await hasCascades(source.client, tables))) return { [Symbol.asyncDispose]: release }
    await take(catalog, locked)
    for (const side of sides) {
      if (shardOf(move, side) === home) continue
      const connection = side === 'source' ? source : await shards.open(move, side, signal)
      if (connection !== source) connections.push(connection)
      await take(connection.client, locked)
    }
    return { [Symbol.asyncDispose]: release }
  } catch (error) {
    await release()
    throw error
  }
}

async function take(client: Client, locked: Client[]): Promise<void> {
  await client.query(`SET lock_timeout = ${waitMs}`)
  try {
    await client.query(lock)
    locked.push(client)
  } finally {
    await client.query('SET lock_timeout = 0').catch(() => undefined)
  }
}

/** Foreign keys of sharded tables that change rows when what they refer to is changed. */
async function hasCascades(client: Client, tables: readonly MovedTable[]): Promise<boolean> {
  const { rows } = await client.query<{ found: boolean }>(
    `SELECT EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND conrelid = ANY ($1::oid[])
                    AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd'))) AS found`,
    [tables.map(({ oid }) => oid)],
  )
  return rows[0]?.found === true
}
