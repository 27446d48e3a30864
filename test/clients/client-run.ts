// What a test tells the reporter about itself: which client did what, in which layout. It travels as the test's
// `meta`, results-reporter.ts turns it into the files of results/.
import type { layouts } from '../../tools/client-results.ts'

/** How Ringfence stands before the data. */
export type Layout = (typeof layouts)[number]

/** Who is tested. */
export type Client = {
  readonly client: string
  readonly language: string
  /** Version of the client and of the driver under it. */
  readonly version: string
  /** For readers of docs/compatibility.md: how it logs in, migrates, what to know. */
  readonly notes: string
}

/** One step of one client. */
export type ClientRun = Client & {
  readonly layout: Layout
  /** Major version. */
  readonly postgres: number
  readonly did: string
  /** Why it is known not to end as on PostgreSQL; then the test passed because it did not. */
  readonly why?: string
}

declare module '@vitest/runner' {
  interface TaskMeta {
    clientRun?: ClientRun
  }
}
