// The catalog's own connections, apart from the pools that serve clients. Every wait on them has an end, and
// a connection that hangs can be cut: `pg` alone would keep the socket until the peer answers.
import { Socket } from 'node:net'
import { Client, DatabaseError } from 'pg'
import { connectByUrl, type UrlConfig } from './connect-by-url.ts'

/** A connection of the catalog. */
export type CatalogConnection = {
  readonly client: Client
  /** Takes leave of the server; of one that has fallen silent within a second. Never rejects. */
  readonly end: () => Promise<void>
  /** Closes it at once, whatever it is doing. */
  readonly destroy: () => void
}

/**
 * Advisory locks of this program, as the two keys of pg_advisory_lock(int, int). The first two are a session's on the
 * home shard; `referenceWrite` is a transaction's on every shard.
 */
export const advisoryLocks = {
  initialise: '1380337219, 1',
  recover: '1380337219, 2',
  referenceWrite: '1380337219, 3',
  autoBalance: '1380337219, 4',
} as const

/** A session's on the home shard: whoever holds it runs the move, nobody else does. */
export function moveLock(moveId: number): string {
  return `1380337220, ${moveId}`
}

/** application_name of sessions that act for a move on its shards; who takes a move over ends those of before. */
export function moverSession(move: { readonly cluster: string; readonly id: number }): string {
  return `ringfence mover ${move.cluster} ${move.id}`
}

/**
 * Commits that others act on, or whose place in the log others wait for, must survive a crash also where servers commit
 * asynchronously by default.
 */
export const durableCommitsSql = `SELECT pg_catalog.set_config('synchronous_commit', 'on', false)
  WHERE pg_catalog.current_setting('synchronous_commit') = 'off'`

/**
 * Whatever the database or the role has set for clients: statements here have limits of their own, what is written is the
 * catalog alone, and times come as pg reads them. Settings that the server's version lacks are left out.
 */
const ownLimitsSql = `SELECT pg_catalog.set_config(w.name, w.setting, false)
  FROM (VALUES ('statement_timeout', '0'), ('lock_timeout', '0'), ('idle_session_timeout', '0'),
    ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'),
    ('default_transaction_read_only', 'off'), ('DateStyle', 'ISO, MDY'), ('extra_float_digits', '1'),
    ('default_transaction_isolation', 'read committed')) AS w (name, setting)
  WHERE EXISTS (SELECT FROM pg_catalog.pg_settings s WHERE s.name = w.name)`

const connectTimeoutMs = 5_000
const endTimeoutMs = 1_000

/**
 * Opens a connection whose statements fail after `queryTimeoutMs`. The caller listens for its 'error' or
 * destroys it. @throws what pg throws when the server cannot be reached or refuses the login.
 */
export async function openCatalogConnection(
  url: string,
  queryTimeoutMs: number,
): Promise<CatalogConnection> {
  return await connectByUrl(url, (config) => openOnce(config, queryTimeoutMs))
}

async function openOnce(config: UrlConfig, queryTimeoutMs: number): Promise<CatalogConnection> {
  const socket = new Socket()
  const client = new Client({
    ...config,
    application_name: 'ringfence catalog',
    connectionTimeoutMillis: connectTimeoutMs,
    query_timeout: queryTimeoutMs,
    keepAlive: true,
    stream: () => socket,
  })
  const destroy = () => {
    socket.destroy()
  }
  const end = async () => {
    const limit = setTimeout(destroy, endTimeoutMs)
    // That the server did not say goodbye changes nothing: the socket is closed either way.
    await client.end().catch(() => undefined)
    clearTimeout(limit)
    destroy()
  }
  // Without a listener a lost connection would end the process; the statement under way fails by itself.
  client.on('error', destroy)
  try {
    await client.connect()
    await client.query(`${ownLimitsSql}; ${durableCommitsSql}`)
    return { client, end, destroy }
  } catch (cause) {
    destroy()
    throw cause
  }
}

/** SQLSTATE of an error that the server sent; undefined for any other. */
export function sqlstateOf(thrown: unknown): string | undefined {
  return thrown instanceof DatabaseError ? thrown.code : undefined
}
