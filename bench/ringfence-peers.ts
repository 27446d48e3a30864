// Ringfence as a peer, a process of its own for each way to configure it that is compared.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { programVersion } from '../cli/version.ts'
import type { Cluster } from '../demo/cluster.ts'
import { freePort } from '../demo/ports.ts'
import { demoRole } from '../demo/roles.ts'
import { certificateFile } from '../test/support/certificates.ts'
import {
  clientsMax,
  noReplicas,
  type Peer,
  peerDirectory,
  type PeerName,
  type RingfenceName,
  serverConnections,
  type Starter,
  startProxy,
  takesAll,
} from './peers.ts'
import { referenceTable } from './rows.ts'
import { shardedDatabase, shardKey } from './servers.ts'

type Way = { readonly folder: string; readonly pool: object; readonly whole: object }

/** What each of them has beside the defaults. */
const ways: Readonly<Record<RingfenceName, Way>> = {
  Ringfence: { folder: 'ringfence', pool: {}, whole: {} },
  'Ringfence, plain': { folder: 'ringfence-plain', pool: { fast_lane: 'off' }, whole: {} },
  'Ringfence, auto-prepare': {
    folder: 'ringfence-auto-prepare',
    pool: { auto_prepare: 'on' },
    whole: {},
  },
  'Ringfence, 2 workers': { folder: 'ringfence-2-workers', pool: {}, whole: { workers: 2 } },
}

/** Ringfence before the first server alone, without sharding. */
export async function prepareRingfence(cluster: Cluster, name: RingfenceName): Promise<Starter> {
  const { folder, pool, whole } = ways[name]
  const dir = await peerDirectory(cluster, folder)
  const { database } = demoRole
  const databases = { [database]: databaseSettings(cluster, { shards: 1, database, pool }) }
  const start = () => startRingfence(dir, { name, database, settings: { ...whole, databases } })
  return { name, start }
}

/** Ringfence before all servers; its configuration file is there at once, for `fillShards`. */
export async function prepareSharded(
  cluster: Cluster,
): Promise<Starter & { readonly configFile: string }> {
  const name = 'Ringfence, sharded'
  const database = shardedDatabase
  const dir = await peerDirectory(cluster, 'ringfence-sharded')
  const shards = cluster.shards.length
  const tables = { [referenceTable]: { placement: 'reference' } }
  const sharding = { key: shardKey, tables }
  const whole = databaseSettings(cluster, { shards, database, pool: {} })
  const settings = { databases: { [database]: { ...whole, sharding } } }
  const configFile = await writeConfig(dir, { port: 0, httpPort: 0 }, settings)
  return { name, configFile, start: () => startRingfence(dir, { name, database, settings }) }
}

type Where = { readonly shards: number; readonly database: string; readonly pool: object }

function databaseSettings(cluster: Cluster, { shards, database, pool }: Where) {
  const { name, password } = demoRole
  return {
    pool: { size: serverConnections, max_client_conn: clientsMax, ...pool },
    server_user: { name, password },
    shards: cluster.shards.slice(0, shards).map(({ id, primary }) => ({
      id,
      primary: `postgres://127.0.0.1:${primary.port}/${database}`,
    })),
  }
}

type Ports = { readonly port: number; readonly httpPort: number }

async function writeConfig(dir: string, ports: Ports, settings: object): Promise<string> {
  const file = join(dir, 'ringfence.yaml')
  const { name, password } = demoRole
  const host = '127.0.0.1'
  const places = { listen: { host, port: ports.port }, http: { host, port: ports.httpPort } }
  const [cert, key] = [certificateFile('server.crt'), certificateFile('server.key')]
  const tls = { client: { mode: 'allow', cert, key } }
  const users = [{ name, password }]
  await writeFile(file, stringify({ ...places, tls, users, log: { level: 'warn' }, ...settings }))
  return file
}

async function startRingfence(
  dir: string,
  what: { readonly name: PeerName; readonly database: string; readonly settings: object },
): Promise<Peer> {
  const { name, database, settings } = what
  const process = await serveRingfence(dir, settings, database)
  const version = programVersion()
  return { ...noReplicas, ...process, name, version, cannot: takesAll, database }
}

/** A Ringfence with these settings beside its ports, users and log, once it serves `database`. */
export async function serveRingfence(
  dir: string,
  settings: object,
  database: string,
): Promise<Ports & { readonly proxyPid: number } & Pick<Peer, 'stop'>> {
  const ports = { port: await freePort(), httpPort: await freePort() }
  const config = await writeConfig(dir, ports, settings)
  const program = fileURLToPath(new URL('../bin/ringfence', import.meta.url))
  const argv = ['serve', '--config', config]
  const where = { port: ports.port, database }
  const process = await startProxy({ program, argv, dir, user: {}, ...where })
  return { ...process, ...ports }
}
