// Provider of test servers: local processes, the embedded PostgreSQL 18 and those that Debian
// installed.
import { createLog } from '../../core/log.ts'
import { startCluster } from '../../demo/cluster.ts'
import { installationOf } from './postgres-installation.ts'
import type { StartedServers } from './servers.ts'

/** Three small primaries in a temporary directory. */
export async function startProcesses(version: number): Promise<StartedServers> {
  const cluster = await startCluster({
    shards: 3,
    replicas: 0,
    installation: await installationOf(version),
    dir: null,
    log: createLog('warn'),
    settings: { shared_buffers: '16MB' },
  })
  const shards = cluster.shards.map(({ id, primary }) => ({ id, url: primary.url() }))
  return { servers: { version, shards }, stop: () => cluster.stop() }
}
