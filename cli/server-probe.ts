// Asks one server everything that `ringfence check` wants to know of it, in one connection with one deadline.
// It judges nothing: server-verdict.ts and schema-drift.ts do, as pure functions over these facts.
import { Socket } from 'node:net'
import { Client, type ClientConfig, DatabaseError, type QueryResultRow } from 'pg'
import { CatalogError } from '../catalog/catalog-error.ts'
import { missingMigrations, type Migration } from '../catalog/migrations.ts'
import { connectByTls, type UrlTls } from '../catalog/connect-by-url.ts'
import type { ServerAddress } from '../config/server-url.ts'
import { readObjects, type SchemaObject } from './schema-objects.ts'

/** A name and a password with which the proxy would log in. */
export type Login = { readonly user: string; readonly password: string | null }

/** What a server says of itself and of our rights in it. */
export type ServerFacts = {
  readonly versionNumber: number
  readonly walLevel: string
  readonly preparedTransactionsMax: number
  readonly connectionsMax: number
  readonly inRecovery: boolean
  readonly systemIdentifier: string
  /** Tells two running servers apart whose data directories are copies of each other. */
  readonly startedAt: string
  readonly databaseOid: string
  readonly databaseName: string
  readonly canCreateSchema: boolean
  /** Null when there is no schema "public". */
  readonly canCreateInPublic: boolean | null
  readonly canSeePrepared: boolean
}

/** A table as far as shards have to agree on it. */
export type TableFacts = {
  /** `schema.name`. */
  readonly name: string
  readonly columns: readonly ColumnFacts[]
  readonly uniques: readonly UniqueFacts[]
  /** As PARTITION BY takes it; null for an ordinary table. */
  readonly partitionKey: string | null
}

/** One column. */
export type ColumnFacts = {
  readonly name: string
  readonly type: string
  /** The type under a domain, without its modifier. */
  readonly baseType: string
  readonly notNull: boolean
  /** What stands behind the type and before NOT NULL: `DEFAULT …`, `GENERATED …`; empty for nothing. */
  readonly value: string
}
type UniqueFacts = {
  readonly name: string
  readonly primary: boolean
  readonly columns: readonly string[]
}

/** What the server holds of the catalog. */
export type CatalogFacts = {
  readonly missing: readonly string[]
  readonly conflict: { readonly message: string; readonly hint: string | null } | null
  /** On the home shard only, once init has run. */
  readonly topology: { readonly vnodeCount: number; readonly keyType: string } | null
  readonly shardIds: readonly string[] | null
  /** Id under which this database is registered; null before init. */
  readonly localId: string | null
}

/** What of the catalog a server should have. */
export type CatalogNeeds = {
  readonly migrations: readonly Migration[]
  readonly scopes: readonly Migration['scope'][]
}

/** What is asked besides the server's own settings. */
export type ProbeOptions = {
  readonly address: ServerAddress
  readonly login: Login
  /** As the proxy would; a mode in the address goes before. */
  readonly tls: UrlTls
  /** All migrations of this program, and the scopes this server needs; null: it needs no catalog. */
  readonly catalog: CatalogNeeds | null
  /** Whether tables and other objects are asked for. A replica is never asked: it has its primary's. */
  readonly schema: boolean
  readonly deadlineMs: number
}

/** What came of asking a server. */
export type Probed =
  | {
      readonly kind: 'answered'
      readonly facts: ServerFacts
      readonly tables: readonly TableFacts[]
      readonly objects: readonly SchemaObject[]
      readonly catalog: CatalogFacts | null
    }
  /** The server answered and said no; `sqlstate` is its own. */
  | { readonly kind: 'refused'; readonly sqlstate: string; readonly reason: string }
  | { readonly kind: 'unreachable'; readonly reason: string }
  /** No login is known for it. */
  | { readonly kind: 'unasked' }

/** Why nothing is known of a server. */
export type NotAnswered = Exclude<Probed, { kind: 'answered' }>

/** Never throws for what a server can cause. */
export function probeServer(options: ProbeOptions): Promise<Probed> {
  return connected(options, async (client) => {
    const facts = await readFacts(client)
    const nothing = { kind: 'answered', facts, tables: [], objects: [], catalog: null } as const
    if (facts.inRecovery) return nothing
    // Types and expressions then name every schema but the system's, on all servers alike.
    await client.query('SET search_path = pg_catalog')
    const tables = options.schema ? (await client.query<TableFacts>(tablesSql)).rows : []
    const objects = options.schema ? await readObjects(client) : []
    const catalog = options.catalog === null ? null : await readCatalog(client, options.catalog)
    return { ...nothing, tables, objects, catalog }
  })
}

/** Whether that login works there at all; null when it does. */
export async function probeLogin(
  options: Pick<ProbeOptions, 'address' | 'login' | 'tls' | 'deadlineMs'>,
): Promise<NotAnswered | null> {
  return connected(options, () => Promise.resolve(null))
}

async function connected<T>(
  {
    address,
    login,
    tls,
    deadlineMs,
  }: Pick<ProbeOptions, 'address' | 'login' | 'tls' | 'deadlineMs'>,
  ask: (client: Client) => Promise<T>,
): Promise<T | NotAnswered> {
  let socket = new Socket()
  let late = false
  const timer = setTimeout(() => {
    late = true
    socket.destroy()
  }, deadlineMs)
  const open = async (ssl: ClientConfig['ssl']) => {
    socket = new Socket()
    if (late) socket.destroy()
    const client = clientOf(address, login, { ssl, stream: () => socket })
    client.on('error', () => socket.destroy())
    try {
      await client.connect()
      return client
    } catch (error) {
      socket.destroy()
      throw error
    }
  }
  try {
    const { host, tlsMode } = address
    return await ask(await connectByTls({ ...tls, mode: tlsMode ?? tls.mode }, host, open))
  } catch (thrown) {
    return failure(thrown, late ? `no answer within ${deadlineMs} ms` : null)
  } finally {
    clearTimeout(timer)
    socket.destroy()
  }
}

function clientOf(
  { host, port, database }: ServerAddress,
  { user, password }: Login,
  transport: Pick<ClientConfig, 'ssl' | 'stream'>,
): Client {
  return new Client({
    ...transport,
    host,
    port,
    database,
    user,
    // Never a password of the environment's or of ~/.pgpass: the proxy would not have it either.
    password: password ?? '',
    application_name: 'ringfence check',
  })
}

function failure(thrown: unknown, lateness: string | null): NotAnswered {
  if (lateness !== null) return { kind: 'unreachable', reason: lateness }
  if (thrown instanceof DatabaseError) {
    return { kind: 'refused', sqlstate: thrown.code ?? '', reason: thrown.message }
  }
  // Node puts the attempts at several addresses into an AggregateError without a message.
  const errors: readonly unknown[] = thrown instanceof AggregateError ? thrown.errors : [thrown]
  const reason = errors.map((error) => (error instanceof Error ? error.message : String(error)))
  if (reason.some((text) => /password|SASL|SCRAM/i.test(text))) {
    return { kind: 'refused', sqlstate: '28P01', reason: reason.join('; ') }
  }
  return { kind: 'unreachable', reason: reason.join('; ') }
}

async function readFacts(client: Client): Promise<ServerFacts> {
  const { rows } = await client.query<ServerFacts>(factsSql)
  const [facts] = rows
  if (facts === undefined)
    throw new Error('the server answered a query for its settings with nothing')
  return facts
}

async function readCatalog(
  client: Client,
  { migrations, scopes }: CatalogNeeds,
): Promise<CatalogFacts> {
  let conflict: CatalogFacts['conflict'] = null
  let missing: readonly Migration[] = []
  try {
    const all = await missingMigrations(client, '', migrations)
    missing = all.filter(({ scope }) => scopes.includes(scope))
  } catch (thrown) {
    if (!(thrown instanceof CatalogError)) throw thrown
    conflict = { message: thrown.message.replace(/ ?shard "" ?/, ' '), hint: thrown.hint ?? null }
  }
  const rowOf = async <R extends QueryResultRow>(table: string, sql: string) => {
    const found = await client.query<{ present: boolean }>(
      `SELECT to_regclass($1) IS NOT NULL AS present`,
      [table],
    )
    return found.rows[0]?.present === true ? (await client.query<R>(sql)).rows[0] : undefined
  }
  const topology = await rowOf<{ vnodeCount: number; keyType: string }>(
    'ringfence.topology',
    'SELECT (1 << vnode_bits) AS "vnodeCount", key_type AS "keyType" FROM ringfence.topology',
  )
  const registered = await rowOf<{ ids: string[] }>(
    'ringfence.shard',
    'SELECT coalesce(array_agg(id), ARRAY[]::text[]) AS ids FROM ringfence.shard',
  )
  const local = await rowOf<{ id: string }>(
    'ringfence.local_shard',
    'SELECT id FROM ringfence.local_shard',
  )
  return {
    missing: missing.map(({ name }) => name),
    conflict,
    topology: topology ?? null,
    shardIds: registered?.ids ?? null,
    localId: local?.id ?? null,
  }
}

const factsSql = `
  SELECT current_setting('server_version_num')::int AS "versionNumber",
         current_setting('wal_level') AS "walLevel",
         current_setting('max_prepared_transactions')::int AS "preparedTransactionsMax",
         current_setting('max_connections')::int AS "connectionsMax",
         pg_is_in_recovery() AS "inRecovery",
         (SELECT system_identifier::text FROM pg_control_system()) AS "systemIdentifier",
         extract(epoch FROM pg_postmaster_start_time())::text AS "startedAt",
         d.oid::text AS "databaseOid",
         d.datname AS "databaseName",
         has_database_privilege(d.oid, 'CREATE') AS "canCreateSchema",
         (SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = 'public')
           AS "canCreateInPublic",
         has_table_privilege('pg_catalog.pg_prepared_xacts', 'SELECT') AS "canSeePrepared"
  FROM pg_database d
  WHERE d.datname = current_database()`

/** Ordinary and partitioned tables; partitions are as their parent is. */
const tablesSql = `
  SELECT n.nspname || '.' || c.relname AS name,
         (SELECT coalesce(json_agg(json_build_object(
                   'name', a.attname,
                   'type', format_type(a.atttypid, a.atttypmod),
                   'baseType', format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL),
                   'notNull', a.attnotnull,
                   'value', CASE
                     WHEN a.attidentity = 'a' THEN 'GENERATED ALWAYS AS IDENTITY'
                     WHEN a.attidentity = 'd' THEN 'GENERATED BY DEFAULT AS IDENTITY'
                     WHEN a.attgenerated = 's' THEN
                       format('GENERATED ALWAYS AS (%s) STORED', pg_get_expr(f.adbin, c.oid))
                     WHEN a.attgenerated <> '' THEN
                       format('GENERATED ALWAYS AS (%s) VIRTUAL', pg_get_expr(f.adbin, c.oid))
                     ELSE coalesce('DEFAULT ' || pg_get_expr(f.adbin, 0), '') END)
                   ORDER BY a.attnum), '[]')
          FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
          LEFT JOIN pg_attrdef f ON f.adrelid = c.oid AND f.adnum = a.attnum
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
         (SELECT coalesce(json_agg(json_build_object(
                   'name', ic.relname,
                   'primary', i.indisprimary,
                   'columns', (SELECT json_agg(coalesce(a.attname, '(expression)') ORDER BY k.place)
                               FROM unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
                               LEFT JOIN pg_attribute a ON a.attrelid = c.oid
                                 AND a.attnum = k.attnum AND k.attnum > 0
                               WHERE k.place <= i.indnkeyatts))
                   ORDER BY i.indisprimary DESC, ic.relname), '[]')
          FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
          WHERE i.indrelid = c.oid AND i.indisunique) AS uniques,
         pg_get_partkeydef(c.oid) AS "partitionKey"
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND NOT c.relispartition
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'ringfence')
  ORDER BY 1`
