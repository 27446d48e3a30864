// Where a read goes.
import { type PgError, pgError } from '../core/errors.ts'
import type { ShardId } from '../core/ids.ts'
import type { HostMonitor } from '../pool/host-monitor.ts'
import type { ReadTarget } from './database-options.ts'
import type { ReadCounts } from './read-counts.ts'

/** Where a read goes. `later`: once the promise is settled, the decision is to be made again. */
export type ReadPlace =
  | { readonly kind: 'primary'; readonly reason: keyof ReadCounts['primary'] }
  | { readonly kind: 'replica'; readonly host: HostMonitor; readonly incarnation: string }
  | { readonly kind: 'later'; readonly until: Promise<void> }
  | { readonly kind: 'refuse'; readonly error: PgError }

/** To the primary, and why. */
export function onPrimary(reason: keyof ReadCounts['primary']): ReadPlace {
  return { kind: 'primary', reason }
}

/** No replica will do: to the primary, if the client lets it go there. */
export function withoutReplica(
  shard: ShardId,
  target: ReadTarget,
  reason: keyof ReadCounts['primary'],
): ReadPlace {
  if (target !== 'replica') return onPrimary(reason)
  return refuse(shard, 'none is healthy and has what the session has seen')
}

/** Nowhere. */
export function refuse(shard: ShardId, why: string): ReadPlace {
  return { kind: 'refuse', error: pgError('noReplica', [shard, why]) }
}
