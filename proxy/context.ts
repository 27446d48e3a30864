// What every session of a proxy shares: time, log, counters, scratch space.
import type { Clock } from '../core/clock.ts'
import type { Log } from '../core/log.ts'
import type { FlushTurn } from '../pool/outbox.ts'
import type { Writer } from '../wire/writer.ts'
import type { ProxyMetrics } from './metrics.ts'
import type { Observation } from './observation.ts'

export type ProxyContext = {
  readonly clock: Clock
  readonly log: Log
  readonly metrics: ProxyMetrics
  readonly turn: FlushTurn
  readonly observation: Observation
  /** Secret that session tokens are signed with. */
  readonly tokenKey: Uint8Array
  /** Scratch for one message at a time; what is written must be sent before anybody else writes. */
  readonly writer: Writer
}
