// Provider of test servers: containers of the official images (RINGFENCE_TEST_BACKEND=docker).
import { randomBytes } from 'node:crypto'
import type { StartedServers } from './servers.ts'

const settings = {
  fsync: 'off',
  max_connections: '200',
  shared_buffers: '16MB',
  wal_level: 'logical',
  max_prepared_transactions: '100',
}

/** Three containers. Throws when there is no Docker daemon. */
export async function startContainers(version: number): Promise<StartedServers> {
  // Loaded here alone: it takes longer to load than local servers take to start.
  const { GenericContainer, Wait } = await import('testcontainers')
  const password = randomBytes(12).toString('hex')
  const start = async (id: string) => {
    const container = await new GenericContainer(`postgres:${version}`)
      .withEnvironment({ POSTGRES_PASSWORD: password })
      .withExposedPorts(5432)
      .withCommand(Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]))
      // The image starts its server twice; the second time it stays.
      .withWaitStrategy(Wait.forLogMessage(/ready to accept connections/, 2))
      .start()
    const address = `${container.getHost()}:${container.getMappedPort(5432)}`
    return { id, container, url: `postgres://postgres:${password}@${address}/postgres` }
  }
  const starting = ['s1', 's2', 's3'].map(start)
  const started = (await Promise.allSettled(starting)).flatMap((result) =>
    result.status === 'fulfilled' ? [result.value] : [],
  )
  const stop = async () => {
    await Promise.all(started.map(({ container }) => container.stop()))
  }
  if (started.length < starting.length) await stop()
  await Promise.all(starting)
  const shards = started.map(({ id, url }) => ({ id, url }))
  return { servers: { version, shards }, stop }
}
