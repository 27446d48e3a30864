// What tests of the monitor have in common: monitors that are closed after each test, a line to a
// server that can be cut without either side noticing, and a server of another cluster.
import { once } from 'node:events'
import { appendFile, writeFile } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { systemClock } from '../../core/clock.ts'
import { shardId } from '../../core/ids.ts'
import { createLog } from '../../core/log.ts'
import type { Installation } from '../../demo/installation.ts'
import { PostgresServer } from '../../demo/postgres-server.ts'
import { runCommand } from '../../demo/process.ts'
import { superuser } from '../../demo/roles.ts'
import { giveToServers, makeServerDirectory, serverUser } from '../../demo/server-user.ts'
import { settingsFile } from '../../demo/template.ts'
import type { HostMonitor } from '../../pool/host-monitor.ts'
import { FlushTurn } from '../../pool/outbox.ts'
import { ShardMonitor, type ShardMonitorOptions } from '../../pool/shard-monitor.ts'
import { askServer } from '../support/clients.ts'

/** Roles that `addRoles` makes: one may do nothing but log in, the other is in pg_monitor. */
export const plain = { database: 'postgres', user: 'plain', password: 'plain' }
const watcher = { database: 'postgres', user: 'watcher', password: 'watcher' }

/** Makes the roles on a primary. */
export async function addRoles(primary: PostgresServer): Promise<void> {
  await ask(primary, "CREATE ROLE plain LOGIN PASSWORD 'plain'")
  await ask(primary, "CREATE ROLE watcher LOGIN PASSWORD 'watcher' IN ROLE pg_monitor")
}

/** First value of the answer to the superuser. */
export async function ask(server: PostgresServer, sql: string): Promise<string> {
  const [first = null] = await askServer(server.url(), sql)
  return first ?? ''
}

const open: ShardMonitor[] = []

/** A monitor of servers at `ports`, not started. */
export function monitorOf(
  ports: readonly number[],
  options: Partial<ShardMonitorOptions> = {},
): ShardMonitor {
  const monitor = new ShardMonitor({
    shard: shardId('s1'),
    hosts: ports.map((port) => ({ host: '127.0.0.1', port, zone: null, weight: 1 })),
    login: watcher,
    dial: {
      turn: new FlushTurn(),
      readBuffer: Buffer.alloc(64 * 1024),
      clock: systemClock,
      connectTimeoutMs: 5_000,
      wholeBytesMax: 1024 * 1024,
    },
    clock: systemClock,
    log: createLog('silent'),
    probeMs: 1_000,
    sampleMsMin: 10,
    patroniUrls: [],
    ...options,
  })
  open.push(monitor)
  return monitor
}

/** Closes what `monitorOf` made. */
export async function closeMonitors(): Promise<void> {
  await Promise.all(open.splice(0).map((monitor) => monitor.close()))
}

/** All that a monitor announces from now on: `<port> on <timeline>` or `none`. */
export function announcements(monitor: ShardMonitor): readonly string[] {
  const heard: string[] = []
  monitor.onPrimaryChange((primary) => {
    const timeline = primary?.status.kind === 'up' ? primary.status.sample.timeline : 'nothing'
    heard.push(primary === null ? 'none' : `${portOf(primary)} on ${timeline}`)
  })
  return heard
}

export const portOf = (host: HostMonitor | null) => host?.address.port ?? null
export const portsOf = (hosts: readonly HostMonitor[]) => hosts.map(portOf)

/** A way to a server; while it is cut nothing arrives any more, and nobody is told. */
export type Line = {
  readonly port: number
  cut(): void
  mend(): void
  close(): void
}

/** A line to the server at `serverPort`. */
export async function lineTo(serverPort: number): Promise<Line> {
  const sockets = new Set<Socket>()
  let isCut = false
  const listener = createServer((client) => {
    const server = connect(serverPort, '127.0.0.1')
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      sockets.add(from)
      from.on('data', (chunk) => isCut || to.write(chunk))
      from.on('error', () => from.destroy())
      from.on('close', () => isCut || to.destroy())
    }
  }).listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const address = listener.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return {
    port,
    cut: () => {
      isCut = true
    },
    mend: () => {
      isCut = false
    },
    close: () => {
      listener.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

/** A primary that has nothing to do with the others: those of a run are copies of one cluster. */
export async function strangerIn(dir: string, installation: Installation): Promise<PostgresServer> {
  const password = 'stranger'
  const passwordFile = join(dir, 'password')
  const dataDir = join(dir, 'data')
  await makeServerDirectory(dir)
  await makeServerDirectory(dataDir)
  await writeFile(passwordFile, password, { mode: 0o600 })
  await giveToServers(passwordFile)
  const flags = [`--pgdata=${dataDir}`, `--username=${superuser}`, `--pwfile=${passwordFile}`]
  const auth = ['--auth=scram-sha-256', '--no-sync', '--no-instructions', '--locale=C']
  const options = { ...serverUser(), cwd: '/' }
  await runCommand(join(installation.binDir, 'initdb'), [...flags, ...auth], options)
  await appendFile(join(dataDir, 'postgresql.conf'), `\ninclude = '${settingsFile}'\n`)
  const server = await PostgresServer.create({ installation, dir })
  await server.start()
  await addRoles(server)
  return server
}
