// Servers of a shard as the monitor has sampled them last, in the form in which a session's needs are compared with.
import { type Lsn, parseLsn } from '../core/lsn.ts'
import type { Position } from '../core/position.ts'
import { ask } from '../pool/exchange.ts'
import type { HostMonitor } from '../pool/host-monitor.ts'
import type { ServerConnection } from '../pool/server-connection.ts'
import type { HostNow } from './session-positions.ts'

/** A server that is up, and its last sample. */
export type Sampled = HostNow & { readonly host: HostMonitor; readonly position: Position }

/** Hosts that are up, as positions are compared with them. */
export function nows(hosts: readonly HostMonitor[]): readonly Sampled[] {
  return hosts.flatMap((host) => {
    const { status } = host
    if (status.kind !== 'up') return []
    const { systemId, timeline, lsn, incarnation } = status.sample
    const positionAfter = (ms: number) => host.positionAfter(ms)
    return [
      { host, id: host.id, incarnation, position: { systemId, timeline, lsn }, positionAfter },
    ]
  })
}

// What was a replica when it was connected to may be the primary by now: what it replayed last is then older than what
// it shows.
const lsnSql = `SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
  ELSE pg_catalog.pg_current_wal_insert_lsn() END`

/** Where the server's log is now: written on a primary, replayed on a replica. Null when it does not say. */
export async function askLsn(server: ServerConnection): Promise<Lsn | null> {
  try {
    const { rows } = await ask(server, lsnSql)
    return parseLsn(rows[0]?.[0] ?? '') ?? null
  } catch {
    return null
  }
}
