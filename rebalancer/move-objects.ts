// What a move creates on its shards besides rows: publications, slots, replica identities, replication origins. Every name
// begins with `ringfence_`, so that doctor can tell what was left behind.
import { type Client, escapeIdentifier, escapeLiteral } from 'pg'
import { sqlstateOf } from '../catalog/connection.ts'
import { assert } from '../core/assert.ts'
import { type Lsn, parseLsn } from '../core/lsn.ts'
import type { Move } from '../catalog/move-store.ts'
import type { Direction } from './world.ts'
import { type MovedTable, needsFullIdentity } from './tables.ts'

/** Name of slot, publication and origin; slots and origins are a server's, which may have shards of several clusters. */
export function streamName({ cluster, id }: MoveName, direction: Direction): string {
  return `ringfence_move_${cluster}_${id}_${direction}`
}

/** What names of a move's objects are made of. */
export type MoveName = Pick<Move, 'cluster' | 'id'>

/** Publication and slot on the side that is followed; the slot waits for the transactions that are open there. */
export async function createStream(
  client: Client,
  name: string,
  tables: readonly MovedTable[],
): Promise<Lsn> {
  const list = tables
    .map(({ schema, name: table }) => `${escapeIdentifier(schema)}.${escapeIdentifier(table)}`)
    .join(', ')
  const published = tables.length === 0 ? '' : `FOR TABLE ${list}`
  await client.query(
    `CREATE PUBLICATION ${escapeIdentifier(name)} ${published} WITH (publish_via_partition_root = true)`,
  )
  const { rows } = await client.query<{ lsn: string }>(
    `SELECT lsn FROM pg_create_logical_replication_slot($1, 'pgoutput')`,
    [name],
  )
  const lsn = parseLsn(rows[0]?.lsn ?? '')
  assert(lsn !== undefined, 'a new slot has a position')
  return lsn
}

/** Clients wait behind it. */
const identityLockMs = 300
const lockNotAvailable = '55P03'
const dropTriesMax = 50
const dropPauseMs = 100

/** Slot and publication, if they are there; whoever reads the slot is disconnected. */
export async function dropStream(client: Client, name: string): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    const { rows } = await client.query<{ pid: number | null }>(
      'SELECT active_pid AS pid FROM pg_replication_slots WHERE slot_name = $1',
      [name],
    )
    const slot = rows[0]
    if (slot === undefined) break
    try {
      if (slot.pid !== null) await client.query('SELECT pg_terminate_backend($1)', [slot.pid])
      await client.query('SELECT pg_drop_replication_slot($1)', [name])
      break
    } catch (error) {
      // 55006: its reader has not gone yet.
      if (tries >= dropTriesMax) throw error
      await new Promise((resolve) => setTimeout(resolve, dropPauseMs))
    }
  }
  await client.query(`DROP PUBLICATION IF EXISTS ${escapeIdentifier(name)}`)
}

/** Replica identities that do not tell the key, by `schema.name`: `default`, `nothing` or `index <name>`. */
export async function narrowIdentities(
  client: Client,
  tables: readonly MovedTable[],
): Promise<Readonly<Record<string, string>>> {
  const found: Record<string, string> = {}
  for (const leaf of tables.flatMap(needsFullIdentity)) {
    const { rows } = await client.query<{ identity: string }>(
      `SELECT CASE c.relreplident WHEN 'd' THEN 'default' WHEN 'n' THEN 'nothing'
              ELSE 'index ' || (SELECT x.relname FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                                WHERE i.indrelid = c.oid AND i.indisreplident) END AS identity
       FROM pg_class c WHERE c.oid = $1`,
      [leaf.oid],
    )
    found[`${escapeIdentifier(leaf.schema)}.${escapeIdentifier(leaf.name)}`] =
      rows[0]?.identity ?? 'default'
  }
  return found
}

/** `identity` as `narrowIdentities` has it, or `full`. */
export async function setIdentity(client: Client, table: string, identity: string): Promise<void> {
  const index = /^index (.+)$/s.exec(identity)?.[1]
  const clause =
    index === undefined ? identity.toUpperCase() : `USING INDEX ${escapeIdentifier(index)}`
  const { rows } = await client.query<{ present: boolean }>(
    'SELECT to_regclass($1) IS NOT NULL AS present',
    [table],
  )
  // A partition may have been dropped since.
  if (rows[0]?.present !== true) return
  await client.query(`SET lock_timeout = ${identityLockMs}`)
  try {
    await client.query(`ALTER TABLE ${table} REPLICA IDENTITY ${clause}`)
  } catch (cause) {
    throw sqlstateOf(cause) === lockNotAvailable ? await inUse(client, table, cause) : cause
  } finally {
    await client.query('SET lock_timeout = 0').catch(() => undefined)
  }
}

/** Another try may succeed: `cause` says so. */
async function inUse(client: Client, table: string, cause: unknown): Promise<Error> {
  const { rows } = await client.query<{ pid: number }>(
    `SELECT DISTINCT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database
     WHERE d.datname = current_database() AND l.relation = to_regclass($1) AND l.granted
       AND l.pid <> pg_backend_pid() ORDER BY 1 LIMIT 10`,
    [table],
  )
  const holders = rows.map(({ pid }) => pid).join(', ')
  const message = `the replica identity of table ${table} cannot be changed while transactions use it`
  return new Error(holders === '' ? message : `${message}: processes ${holders}`, { cause })
}

/** Positions and origins of a move on one shard. */
export async function forgetMove(client: Client, move: MoveName): Promise<void> {
  await client.query('DELETE FROM ringfence.move_progress WHERE move_id = $1', [move.id])
  const { rows } = await client.query<{ name: string }>(
    'SELECT roname AS name FROM pg_replication_origin WHERE roname = ANY ($1::text[])',
    [[streamName(move, 'forward'), streamName(move, 'reverse')]],
  )
  for (const { name } of rows) {
    await client.query(`SELECT pg_replication_origin_drop(${escapeLiteral(name)})`)
  }
}
