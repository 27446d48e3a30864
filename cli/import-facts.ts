// What `ringfence import` asks a PostgreSQL that is to become the first shard of a cluster, besides
// what `check` asks.
import type { Client } from 'pg'
import { loadSchema } from '../catalog/schema-loader.ts'
import { openShard } from '../rebalancer/copy/connection.ts'
import type { Schema, ShardingRules } from '../router/schema.ts'

export type ForeignKey = {
  readonly name: string
  /** `schema.name`, as in Schema.relations. */
  readonly from: string
  readonly to: string
  readonly fromColumns: readonly string[]
  readonly toColumns: readonly string[]
}

/** The server and our rights on it. */
export type ImportFacts = {
  readonly schema: Schema
  readonly foreignKeys: readonly ForeignKey[]
  /** `trigger on schema.table`. */
  readonly triggers: readonly { readonly name: string; readonly table: string }[]
  /** Tables whose owner our role is not, and no member of: their sequences cannot be changed. */
  readonly strangers: readonly string[]
  readonly extensions: readonly string[]
  readonly replicationSlotsMax: number
  readonly walSendersMax: number
  /** Superuser, or with the attribute REPLICATION. */
  readonly canReplicate: boolean
  readonly isSuperuser: boolean
}

const foreignKeysSql = `
  SELECT k.conname AS name, n.nspname || '.' || c.relname AS "from",
    fn.nspname || '.' || f.relname AS "to",
    ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u (number, place)
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.number ORDER BY place)
      AS "fromColumns",
    ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u (number, place)
          JOIN pg_attribute a ON a.attrelid = f.oid AND a.attnum = u.number ORDER BY place)
      AS "toColumns"
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
  WHERE k.contype = 'f' AND k.conparentid = 0
  ORDER BY 2, 1`

const triggersSql = `
  SELECT g.tgname AS name, n.nspname || '.' || c.relname AS table
  FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE NOT g.tgisinternal AND g.tgparentid = 0 ORDER BY 2, 1`

const strangersSql = `
  SELECT n.nspname || '.' || c.relname AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'ringfence')
    AND n.nspname !~ '^pg_toast' AND NOT pg_has_role(c.relowner, 'USAGE')
  ORDER BY 1`

const settingsSql = `
  SELECT current_setting('max_replication_slots')::int AS "replicationSlotsMax",
    current_setting('max_wal_senders')::int AS "walSendersMax",
    r.rolsuper OR r.rolreplication AS "canReplicate", r.rolsuper AS "isSuperuser",
    ARRAY(SELECT extname::text FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1)
      AS extensions
  FROM pg_roles r WHERE r.rolname = current_user`

type Settings = Pick<
  ImportFacts,
  'replicationSlotsMax' | 'walSendersMax' | 'canReplicate' | 'isSuperuser' | 'extensions'
>

/** Under `rules`, which the catalog need not know yet. @throws what pg throws */
export async function readImportFacts(
  url: string,
  rules: ShardingRules,
  deadlineMs: number,
): Promise<ImportFacts> {
  await using opened = await openShard(url, AbortSignal.timeout(deadlineMs))
  const { client } = opened
  const user = decodeURIComponent(new URL(url).username)
  const schema = await loadSchema((sql) => textRows(client, sql), rules, user)
  const { rows } = await client.query<Settings>(settingsSql)
  const [settings] = rows
  if (settings === undefined) throw new Error('the server does not know the role we log in as')
  const strangers = await client.query<{ name: string }>(strangersSql)
  return {
    ...settings,
    schema,
    foreignKeys: (await client.query<ForeignKey>(foreignKeysSql)).rows,
    triggers: (await client.query<ImportFacts['triggers'][number]>(triggersSql)).rows,
    strangers: strangers.rows.map(({ name }) => name),
  }
}

/** As the proxy's own connections give them. */
async function textRows(client: Client, text: string): Promise<(string | null)[][]> {
  const types = { getTypeParser: () => (value: string | Buffer) => String(value) }
  const { rows } = await client.query<(string | null)[]>({ text, rowMode: 'array', types })
  return rows
}
