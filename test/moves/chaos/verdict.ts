// Which fault, if any, an error is to be put down to. Pure. Strict: only errors that the killed or cut-off thing can
// cause, only at those who depend on it, only from its beginning until shortly after it was well again.
import type { Fault } from './faults.ts'

/** An operation that ended with an error; milliseconds of `performance.now()`. */
export type Failure = {
  readonly sqlstate: string
  readonly message: string
  /** Through which it went. */
  readonly proxy: number
  readonly beginMs: number
  readonly endMs: number
}

/** After a kill, until whoever lost its connections has noticed and has new ones. */
const afterwardsMs = 3_000
/** A proxy whose catalog was away tries again after 5 s at most. */
const afterwardsOfCatalogMs = 8_000
/** Cut connections, servers that start, transactions that were lost with a server. */
const ofServers = /^(?:08006|08001|08007|57P0[123]|40001)$/
/** A statement that waited for the end of a switch, and waited too long. */
const ofHolding = /^(?:57P03|53300)$/
/** The fence, met behind the back of a proxy that could not hear of it. */
const ofFence = /has moved to another shard, or is about to/
const home = 's1'

/** The oldest fault that explains it; undefined: none does. */
export function explain(failure: Failure, faults: readonly Fault[]): Fault | undefined {
  return faults.find((fault) => isDuring(failure, fault) && mayCause(fault, failure))
}

function isDuring({ beginMs, endMs }: Failure, fault: Fault): boolean {
  const isCatalogs = fault.victims.includes(home)
  const later = isCatalogs ? afterwardsOfCatalogMs : afterwardsMs
  return endMs >= fault.beginMs && beginMs <= (fault.endMs ?? Number.POSITIVE_INFINITY) + later
}

function mayCause({ kind, victims }: Fault, { sqlstate, message, proxy }: Failure): boolean {
  const self = `proxy-${proxy}`
  if (sqlstate === 'refused' || sqlstate === 'closed') {
    return kind === 'proxy' && victims.includes(self)
  }
  const isServers = kind === 'server' || kind === 'backend'
  const isOwnWay = kind === 'way' && victims.includes(self)
  if (ofFence.test(message)) {
    if (kind === 'frozen') return victims.includes(self)
    return (isServers || isOwnWay) && victims.includes(home)
  }
  // Most errors of servers name the shard.
  const shard = /shard "(\w+)"/.exec(message)?.[1]
  if (shard !== undefined && ofServers.test(sqlstate)) {
    return (isServers || isOwnWay) && victims.includes(shard)
  }
  if (isServers && /^57P0[123]$/.test(sqlstate)) return true
  return ofHolding.test(sqlstate)
}

/** Errors that a client may retry, as documented, whatever happened. */
export function isRetryable(sqlstate: string): boolean {
  return /^(?:08006|08001|08007|40001|57P0[123]|53300)$/.test(sqlstate)
}
