// What every part of one simulated run shares.
import type { Mutation } from './mutation.ts'
import type { Scheduler } from './scheduler.ts'

export type Environment = {
  readonly scheduler: Scheduler
  /** The fault that was planted, if any. */
  readonly mutation: Mutation | null
  /** True when lines are kept. */
  readonly tracing: boolean
  readonly trace: (line: string) => void
  /** A guarantee was broken: the run ends. */
  readonly violate: (what: string) => void
}
