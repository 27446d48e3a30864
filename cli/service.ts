// What `ringfence serve` runs: one process, or a supervisor and its workers. Both are started, told and ended alike
// (cli/serve.ts).
import type { Config } from '../config/config.ts'
import type { AdjustableLog } from '../core/log.ts'
import type { Estate } from './workers/estate.ts'
import type { Order } from './workers/standing-orders.ts'

/** How a service is told to end: at once, when transactions have ended, when the last client has gone. */
export type Ending = 'now' | 'servers' | 'clients'

export interface Service {
  /** Port that clients connect to. */
  readonly port: number
  /** Null without an HTTP port. */
  readonly httpPort: number | null
  /** Processes that serve. */
  readonly workers: number
  /** For a process that takes over. */
  readonly estate: Estate
  /** What was inherited is this process's own from now on: the one before ends. */
  adopt(): void
  /** What keeps it from serving; empty when it is ready. */
  notReady(): Promise<readonly string[]>
  /** Reads the file again. @throws Error naming what is wrong with it; then nothing has changed */
  reload(): Promise<readonly string[]>
  /** Cancels what a client of this service does; `secret` in hexadecimal digits. Of other keys it knows nothing. */
  cancel(pid: number, secret: string): Promise<void>
  /** Carries out what the console of a newer process was told, such as PAUSE. @throws PgError why it was not done */
  order(order: Order): Promise<readonly string[]>
  /** Takes no new clients and goes on with those it has, for `deadlineMs` at most; then it drains. */
  retire(deadlineMs: number, drainMs: number): Promise<void>
  /** No new logins; sessions end with their transactions, at `deadlineMs` in any case. */
  drain(deadlineMs: number): Promise<void>
  close(): Promise<void>
}

/** What a service is given by the process that it runs in. */
export type Surroundings = AdjustableLog & {
  /** Sockets of the process before; null when this is the first. */
  readonly inherited: Estate | null
  /** Numbers of processes before this one that are still there. */
  readonly formerSlots: () => readonly number[]
  /** For a key that another generation of the proxy has given. */
  readonly cancelElsewhere: (pid: number, secret: string) => Promise<void>
  /** Has processes before this one carry an order out, too; resolves once they have, or have ended. Never rejects. */
  readonly formerly: (order: Order) => Promise<void>
  /** A reload has been applied. */
  readonly configured: (config: Config) => void
  readonly reload: () => Promise<readonly string[]>
  readonly upgrade: () => Promise<readonly string[]>
  readonly shutdown: (ending: Ending) => Promise<void>
}
