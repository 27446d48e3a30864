// Where a read goes.
import { type PgError, pgError } from '../core/errors.ts'
import type { ShardId } from '../core/ids.ts'
import type { HostMonitor } from '../pool/host-monitor.ts'
import type { ReadTarget } from './database-options.ts'
import type { ReadCounts } from './read-counts.ts'
import type { ShardServers } from './shard-servers.ts'

/** Where a read goes. `later`: once the promise is settled, the decision is to be made again. */
export type ReadPlace =
  | { readonly kind: 'primary' }
  | { readonly kind: 'replica'; readonly host: HostMonitor; readonly incarnation: string }
  | { readonly kind: 'later'; readonly until: Promise<void> }
  | { readonly kind: 'refuse'; readonly error: PgError }

const primary: ReadPlace = { kind: 'primary' }

/** To the primary, which is counted with its reason. */
export function onPrimary(servers: ShardServers, reason: keyof ReadCounts['primary']): ReadPlace {
  servers.counts.primary[reason] += 1
  return primary
}

/** No replica will do: to the primary, if the client lets it go there. */
export function withoutReplica(
  servers: ShardServers,
  target: ReadTarget,
  reason: keyof ReadCounts['primary'],
): ReadPlace {
  if (target !== 'replica') return onPrimary(servers, reason)
  return refuse(servers.id, 'none is healthy and has what the session has seen')
}

/** Nowhere. */
export function refuse(shard: ShardId, why: string): ReadPlace {
  return { kind: 'refuse', error: pgError('noReplica', [shard, why]) }
}
