// Connections of the mover to shards. Whatever the database or its roles have set, values are
// written the same way on every server; and a connection that is closed while a statement runs ends
// that statement within a second.
import { Socket } from 'node:net'
import { Client, DatabaseError, escapeLiteral } from 'pg'
import { ConnectionLost } from '../stream/connection-lost.ts'
import { connectByUrl, type UrlConfig } from '../../catalog/connect-by-url.ts'
import { durableCommitsSql } from '../../catalog/connection.ts'

/** A connection that is closed at the end of its block, or as soon as `signal` aborts. */
export type ShardConnection = {
  readonly client: Client
  [Symbol.asyncDispose](): Promise<void>
}

const connectTimeoutMs = 10_000
const endTimeoutMs = 2_000
/** undefined_object, and before version 17 invalid_parameter_value. */
const snapshotGone = new Set(['42704', '22023'])

/**
 * Names mean the system's own; text forms depend on no setting; nothing but the signal ends a long
 * transaction; row policies raise an error rather than hide rows. Settings that the server's
 * version lacks are left out.
 */
const settings: Readonly<Record<string, string>> = {
  search_path: 'pg_catalog',
  client_encoding: 'UTF8',
  TimeZone: 'UTC',
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'postgres',
  extra_float_digits: '1',
  bytea_output: 'hex',
  lc_monetary: 'C',
  xmlbinary: 'base64',
  xmloption: 'content',
  array_nulls: 'on',
  standard_conforming_strings: 'on',
  quote_all_identifiers: 'off',
  row_security: 'off',
  default_transaction_isolation: 'read committed',
  default_transaction_read_only: 'off',
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
  transaction_timeout: '0',
  client_connection_check_interval: '1s',
  // Several workers read parts of one table already.
  max_parallel_workers_per_gather: '0',
  jit: 'off',
  synchronize_seqscans: 'off',
}

/** Opens a connection by that application_name. @throws the signal's reason once it is aborted, else what pg throws. */
export async function openShard(
  url: string,
  signal: AbortSignal,
  name = 'ringfence mover',
): Promise<ShardConnection> {
  return await connectByUrl(url, (config) => openOnce(config, signal, name))
}

async function openOnce(
  config: UrlConfig,
  signal: AbortSignal,
  name: string,
): Promise<ShardConnection> {
  signal.throwIfAborted()
  const socket = new Socket()
  const client = new Client({
    ...config,
    application_name: name,
    connectionTimeoutMillis: connectTimeoutMs,
    keepAlive: true,
    stream: () => socket,
  })
  const destroy = () => {
    socket.destroy()
  }
  // A lost connection fails the statement at work; without a listener it would end the process too.
  client.on('error', destroy)
  signal.addEventListener('abort', destroy, { once: true })
  const close = async () => {
    signal.removeEventListener('abort', destroy)
    const limit = setTimeout(destroy, endTimeoutMs)
    // That the server did not say goodbye changes nothing: the socket is closed either way.
    if (!socket.destroyed) await client.end().catch(() => undefined)
    clearTimeout(limit)
    destroy()
  }
  try {
    await client.connect()
    await client.query(`${settingsSql}; ${durableCommitsSql}`)
    return { client, [Symbol.asyncDispose]: close }
  } catch (thrown) {
    signal.removeEventListener('abort', destroy)
    destroy()
    signal.throwIfAborted()
    throw thrown
  }
}

/**
 * Opens a connection that writes rows as a replica does: without triggers and checks of foreign
 * keys.
 */
export async function openWriter(url: string, signal: AbortSignal): Promise<ShardConnection> {
  const connection = await openShard(url, signal)
  return setUp(connection, 'SET session_replication_role = replica')
}

/** Opens a connection inside a transaction that sees what the exported snapshot sees. */
export async function openReader(
  url: string,
  snapshot: string,
  signal: AbortSignal,
): Promise<ShardConnection> {
  const connection = await openShard(url, signal)
  const sql = `BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
               SET TRANSACTION SNAPSHOT ${escapeLiteral(snapshot)}`
  try {
    return await setUp(connection, sql)
  } catch (thrown) {
    // It goes with the connection that has exported it.
    if (!(thrown instanceof DatabaseError) || !snapshotGone.has(thrown.code ?? '')) throw thrown
    throw new ConnectionLost('the connection with the snapshot was lost', thrown)
  }
}

async function setUp(connection: ShardConnection, sql: string): Promise<ShardConnection> {
  try {
    await connection.client.query(sql)
    return connection
  } catch (thrown) {
    await connection[Symbol.asyncDispose]()
    throw thrown
  }
}

const settingsSql = `
  SELECT pg_catalog.set_config(w.name, w.setting, false)
  FROM (VALUES ${Object.entries(settings)
    .map(([name, setting]) => `(${escapeLiteral(name)}, ${escapeLiteral(setting)})`)
    .join(', ')}) AS w (name, setting)
  WHERE EXISTS (SELECT FROM pg_catalog.pg_settings s
                WHERE pg_catalog.lower(s.name) = pg_catalog.lower(w.name))`
