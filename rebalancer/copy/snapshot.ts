// A snapshot of a shard that other connections can take, and the place in its log that it stands
// for. It belongs to a temporary replication slot (manual, "CREATE_REPLICATION_SLOT"), which is
// gone with its connection.
import { randomBytes } from 'node:crypto'
import type { Client } from 'pg'
import { assert } from '../../core/assert.ts'
import { type Lsn, parseLsn } from '../../core/lsn.ts'
import { openShard } from './connection.ts'

/** Valid until `close`. */
export type Snapshot = {
  readonly name: string
  /**
   * The consistent point: transactions whose commit record begins at or after it are not in the
   * snapshot, all others are.
   */
  readonly lsn: Lsn
  close(): Promise<void>
}

const terminateTimeoutMs = 5_000
/** From then on the options of CREATE_REPLICATION_SLOT stand in parentheses. */
const parenthesesVersion = 150_000

/**
 * Exports a snapshot. Waits for every transaction of the server that writes now, prepared ones
 * included: `signal` is what ends the wait. @throws the signal's reason, else what pg throws.
 */
export async function openSnapshot(sourceUrl: string, signal: AbortSignal): Promise<Snapshot> {
  const separator = sourceUrl.includes('?') ? '&' : '?'
  const connection = await openShard(`${sourceUrl}${separator}replication=database`, signal)
  const stop = await stopper(connection.client, sourceUrl, signal).catch(async (thrown) => {
    await connection[Symbol.asyncDispose]()
    throw thrown
  })
  try {
    const { name, lsn } = await exportSnapshot(connection.client)
    return { name, lsn, close: () => connection[Symbol.asyncDispose]() }
  } catch (thrown) {
    await connection[Symbol.asyncDispose]()
    signal.throwIfAborted()
    throw thrown
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

/**
 * Ends the server's process when the signal aborts: while it waits for transactions it does not
 * notice that its connection has gone.
 */
async function stopper(client: Client, url: string, signal: AbortSignal): Promise<() => void> {
  const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
  const pid = rows[0]?.pid ?? 0
  const stop = () => {
    // If that fails the process ends with the transactions that it waits for.
    void terminate(url, pid).catch(() => undefined)
  }
  signal.addEventListener('abort', stop, { once: true })
  return stop
}

async function terminate(url: string, pid: number): Promise<void> {
  await using connection = await openShard(url, AbortSignal.timeout(terminateTimeoutMs))
  await connection.client.query(`SELECT pg_terminate_backend(${pid})`)
}

async function exportSnapshot(client: Client): Promise<Pick<Snapshot, 'name' | 'lsn'>> {
  const version = await client.query<{ number: string }>(
    `SELECT current_setting('server_version_num') AS number`,
  )
  const slot = `ringfence_snapshot_${randomBytes(8).toString('hex')}`
  const newer = Number(version.rows[0]?.number) >= parenthesesVersion
  const option = newer ? `(SNAPSHOT 'export')` : 'EXPORT_SNAPSHOT'
  const { rows } = await client.query<{ snapshot_name: string; consistent_point: string }>(
    `CREATE_REPLICATION_SLOT ${slot} TEMPORARY LOGICAL pgoutput ${option}`,
  )
  const [row] = rows
  const lsn = parseLsn(row?.consistent_point ?? '')
  assert(row !== undefined && lsn !== undefined, 'a new replication slot has a consistent point')
  return { name: row.snapshot_name, lsn }
}
