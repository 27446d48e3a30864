// A PostgreSQL of a part's own: faults that take a whole server along must not meet one that others use.
import { createLog } from '../../core/log.ts'
import { startCluster } from '../../demo/cluster.ts'
import type { PostgresServer } from '../../demo/postgres-server.ts'
import { installationOf } from '../support/postgres-installation.ts'
import type { TestServers } from '../support/servers.ts'

export type OwnCluster = {
  readonly servers: TestServers
  readonly postgres: PostgresServer
  stop(): Promise<void>
}

/** One server without replicas. */
export async function startOwn(version: number): Promise<OwnCluster> {
  const cluster = await startCluster({
    shards: 1,
    replicas: 0,
    installation: await installationOf(version),
    dir: null,
    log: createLog('error'),
    settings: { shared_buffers: '16MB', autovacuum: 'off' },
  })
  const [shard] = cluster.shards
  if (shard === undefined) throw new Error('the cluster has no shard')
  const { id, primary } = shard
  const servers = { version, shards: [{ id, url: primary.url() }] }
  return { servers, postgres: primary, stop: () => cluster.stop() }
}
