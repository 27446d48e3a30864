// Where tests get their PostgreSQL servers from: one interface, two providers. Tests see
// TestServers alone (`inject('servers')`) and cannot tell whether local processes or containers
// stand behind it.

/** The servers of one PostgreSQL version: three primaries, without replicas. */
export type TestServers = {
  /** Major version. */
  readonly version: number
  /** Home shard first. `url` is the superuser's, to the database `postgres`. */
  readonly shards: readonly { readonly id: string; readonly url: string }[]
}

/** Servers that run until `stop`. */
export type StartedServers = { readonly servers: TestServers; stop(): Promise<void> }

/**
 * Starts the servers of one major version. Throws when it cannot: tests never skip for want of
 * servers.
 */
export type ServerProvider = (version: number) => Promise<StartedServers>

declare module 'vitest' {
  interface ProvidedContext {
    /** One entry per PostgreSQL version under test, newest first. */
    readonly servers: readonly TestServers[]
  }
}
