// The registers in the database: one table of them, and a log that a trigger keeps of every version, so that at the end
// it is known what was committed.
import { demoUrl } from '../../demo/cluster.ts'
import { withClient } from '../../demo/sql.ts'
import type { ReplicatedShard } from '../support/replicated-shard.ts'
import type { FinalState } from '../support/history-values.ts'
import { withClient as useClient } from '../support/clients.ts'
import type { Place } from '../support/stack.ts'

/** Run on every shard. `is_replica` tells where a read was answered, and may run there because it says STABLE. */
export const registerSchema = `
CREATE TABLE registers (
  tenant_id bigint PRIMARY KEY, version bigint NOT NULL, value bigint NOT NULL
) WITH (fillfactor = 50)

CREATE TABLE register_log (tenant_id bigint NOT NULL, version bigint NOT NULL, value bigint NOT NULL)

CREATE FUNCTION is_replica() RETURNS boolean STABLE LANGUAGE sql
AS 'SELECT pg_catalog.pg_is_in_recovery()'

CREATE FUNCTION log_register() RETURNS trigger LANGUAGE plpgsql
AS 'BEGIN INSERT INTO register_log VALUES (new.tenant_id, new.version, new.value); RETURN NULL; END'

CREATE TRIGGER log_register AFTER UPDATE ON registers FOR EACH ROW EXECUTE FUNCTION log_register()
`

/** The statements, each with the key as $1. */
export const registerSql = {
  read: 'SELECT version, value, is_replica() FROM registers WHERE tenant_id = $1',
  /** $2 is the attempt. */
  write:
    'UPDATE registers SET version = version + 1, value = $2 WHERE tenant_id = $1 RETURNING version',
  readThree: 'SELECT tenant_id, version, value FROM registers WHERE tenant_id IN ($1, $2, $3)',
} as const

/** Creates keys 0 to `count` − 1 at version 0, through a proxy. */
export async function createRegisters(place: Place, count: number): Promise<void> {
  await useClient(place, async (client) => {
    for (let key = 0; key < count; key += 1) {
      await client.query('INSERT INTO registers (tenant_id, version, value) VALUES ($1, 0, 0)', [
        key,
      ])
    }
  })
}

/** Number of the shard of each key. */
export async function shardsOfRegisters(shards: readonly ReplicatedShard[]): Promise<number[]> {
  const shardOf: number[] = []
  for (const [at, { primary }] of shards.entries()) {
    const keys = await rowsOf(demoUrl(primary.server), 'SELECT tenant_id FROM registers')
    for (const [key = 0] of keys) shardOf[key] = at
  }
  return shardOf
}

/** What the primaries hold now. */
export async function finalStateOf(shards: readonly ReplicatedShard[]): Promise<FinalState> {
  const log: { key: number; version: number; value: number }[] = []
  const versions = new Map<number, number>()
  for (const { primary } of shards) {
    const url = demoUrl(primary.server)
    const rows = await rowsOf(url, 'SELECT tenant_id, version, value FROM register_log')
    for (const [key = -1, version = -1, value = -1] of rows) log.push({ key, version, value })
    const registers = await rowsOf(url, 'SELECT tenant_id, version FROM registers')
    for (const [key = -1, version = -1] of registers) versions.set(key, version)
  }
  return { log, versions }
}

function rowsOf(url: string, text: string): Promise<number[][]> {
  return withClient(url, async (client) => {
    const { rows } = await client.query<string[]>({ text, rowMode: 'array' })
    return rows.map((row) => row.map(Number))
  })
}
