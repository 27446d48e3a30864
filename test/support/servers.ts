// Where tests get their PostgreSQL servers from: one interface, two providers. Tests see TestServers alone
// (`inject('servers')`) and cannot tell whether local processes or containers stand behind it.
import { existsSync } from 'node:fs'
import { startContainers } from './servers-docker.ts'
import { startProcesses } from './servers-local.ts'

/** The servers of one PostgreSQL version: three primaries, without replicas. */
export type TestServers = {
  /** Major version. */
  readonly version: number
  /** Home shard first. `url` is the superuser's, to the database `postgres`. */
  readonly shards: readonly { readonly id: string; readonly url: string }[]
}

/** Servers that run until `stop`. */
export type StartedServers = { readonly servers: TestServers; stop(): Promise<void> }

/** Starts the servers of one major version. Throws when it cannot: tests never skip for want of servers. */
export type ServerProvider = (version: number) => Promise<StartedServers>

declare module 'vitest' {
  interface ProvidedContext {
    /** One entry per PostgreSQL version under test, newest first. */
    readonly servers: readonly TestServers[]
  }
}

export const embeddedVersion = 18
/** Where Debian puts the binaries of a major version. */
export const debianBinDir = (version: number) => `/usr/lib/postgresql/${version}/bin`

/** The provider that RINGFENCE_TEST_BACKEND names: `processes` (default) or `docker`. */
export function chooseProvider(env: NodeJS.ProcessEnv): ServerProvider {
  const backend = env['RINGFENCE_TEST_BACKEND'] ?? 'processes'
  if (backend === 'processes') return startProcesses
  if (backend === 'docker') return startContainers
  throw new Error(`RINGFENCE_TEST_BACKEND is "${backend}": it can be "processes" or "docker"`)
}

/** The versions that RINGFENCE_TEST_POSTGRES lists (`15,18`), else 18 and Debian's 15 where installed. */
export function chooseVersions(env: NodeJS.ProcessEnv): readonly number[] {
  const listed = env['RINGFENCE_TEST_POSTGRES']
  if (listed === undefined) {
    const others = env['RINGFENCE_TEST_BACKEND'] === 'docker' || existsSync(debianBinDir(15))
    return others ? [embeddedVersion, 15] : [embeddedVersion]
  }
  const versions = listed.split(',').map((version) => Number.parseInt(version, 10))
  if (versions.some(Number.isNaN)) {
    throw new Error(
      `RINGFENCE_TEST_POSTGRES is "${listed}": it lists major versions, such as 15,18`,
    )
  }
  return versions.sort((a, b) => b - a)
}
