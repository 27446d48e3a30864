// Which servers this run of the tests uses: where they come from and of which versions.
import { existsSync } from 'node:fs'
import { debianBinDir, embeddedVersion } from './postgres-installation.ts'
import type { ServerProvider } from './servers.ts'
import { startContainers } from './servers-docker.ts'
import { startProcesses } from './servers-local.ts'

/** The provider that RINGFENCE_TEST_BACKEND names: `processes` (default) or `docker`. */
export function chooseProvider(env: NodeJS.ProcessEnv): ServerProvider {
  const backend = env['RINGFENCE_TEST_BACKEND'] ?? 'processes'
  if (backend === 'processes') return startProcesses
  if (backend === 'docker') return startContainers
  throw new Error(`RINGFENCE_TEST_BACKEND is "${backend}": it can be "processes" or "docker"`)
}

/**
 * The versions that RINGFENCE_TEST_POSTGRES lists (`15,18`), else 18, and in the slow part (RINGFENCE_SLOW=1) Debian's 15
 * too where installed.
 */
export function chooseVersions(env: NodeJS.ProcessEnv): readonly number[] {
  const listed = env['RINGFENCE_TEST_POSTGRES']
  if (listed === undefined) {
    const found = env['RINGFENCE_TEST_BACKEND'] === 'docker' || existsSync(debianBinDir(15))
    const others = found && env['RINGFENCE_SLOW'] === '1'
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
