// Up to where a shard's history has been written or seen: what read-your-writes is made of. Two positions can be
// compared only within one database cluster (system identifier); after a failover its history goes on under
// a higher timeline.
import type { ShardId } from './ids.ts'
import type { Lsn } from './lsn.ts'

export type Position = {
  /** pg_control_system().system_identifier, decimal. */
  readonly systemId: string
  readonly timeline: number
  readonly lsn: Lsn
}

/** One position per shard; a shard without one puts no demand on a read. */
export type Positions = ReadonlyMap<ShardId, Position>

/**
 * The later of what is known and what comes in. A higher timeline goes on from the lower one, so it wins whatever the
 * LSN. Of another cluster nothing can be said: the newcomer wins, as it was written by whoever sees that cluster now.
 */
export function laterPosition(known: Position | undefined, incoming: Position): Position {
  if (known === undefined || known.systemId !== incoming.systemId) return incoming
  if (known.timeline !== incoming.timeline) {
    return known.timeline > incoming.timeline ? known : incoming
  }
  return known.lsn > incoming.lsn ? known : incoming
}

/** True when a state at `reached` holds everything up to `needed`. Another timeline is never known to. */
export function covers(reached: Position, needed: Position): boolean {
  if (reached.systemId !== needed.systemId || reached.timeline !== needed.timeline) return false
  return reached.lsn >= needed.lsn
}

/** The same for what the primary once told: a later timeline that has passed the LSN has it, and so has another cluster. */
export function isAbove(reached: Position, floor: Position): boolean {
  if (reached.systemId !== floor.systemId) return true
  return reached.timeline >= floor.timeline && reached.lsn >= floor.lsn
}
