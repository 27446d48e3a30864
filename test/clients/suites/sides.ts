// The two sides of a suite: plain PostgreSQL, and another server of the same making behind a Ringfence of one shard without
// a sharding section, in transaction mode. Both start from the same files, so that even the OIDs agree.
import { type ChildProcess, spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findInstallation } from '../../../demo/installation.ts'
import { PostgresServer } from '../../../demo/postgres-server.ts'
import { waitUntil } from '../../../demo/process.ts'
import { openRun } from '../../../demo/run.ts'
import type { Settings } from '../../../demo/settings.ts'
import { debianBinDir } from '../../support/postgres-installation.ts'

export type SideName = 'direct' | 'proxy'

/** Where a suite's client connects, as the superuser. */
export type Side = {
  readonly name: SideName
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
}

export type Sides = AsyncDisposable & {
  readonly sides: readonly Side[]
  readonly binDir: string
}

export type SidesOptions = {
  /** Major version of Debian's PostgreSQL. */
  readonly version: number
  /** Databases that the suite connects to. */
  readonly databases: readonly string[]
  readonly settings?: Settings
  readonly poolSize?: number
  readonly only?: SideName | undefined
  /** Makes the databases, before there is a proxy. `urlOf` gives the superuser's way to one. */
  readonly prepare: (urlOf: (database: string) => string) => Promise<void>
}

const entry = fileURLToPath(new URL('../../../cli/main.ts', import.meta.url))
const startDeadlineMs = 30_000
const user = 'postgres'

/** Starts both sides, or the one that is asked for. */
export async function openSides(options: SidesOptions): Promise<Sides> {
  const installation = await findInstallation(debianBinDir(options.version))
  const run = await openRun(null)
  const proxies: ChildProcess[] = []
  const servers: PostgresServer[] = []
  const close = async () => {
    for (const proxy of proxies) await ended(proxy)
    await Promise.allSettled(servers.map((server) => server.stop('immediate')))
    await run.end()
  }
  const open = async (name: SideName): Promise<Side> => {
    const settings = options.settings ?? {}
    const server = await PostgresServer.create({ installation, settings, dir: join(run.dir, name) })
    servers.push(server)
    await server.start()
    const { password } = server
    await options.prepare((database) => server.url(database))
    const place = { name, host: '127.0.0.1', user, password }
    if (name === 'direct') return { ...place, port: server.port }
    const file = join(run.dir, 'ringfence.yaml')
    await writeFile(file, configOf(server, options))
    const { proxy, port } = await startProxy(file)
    proxies.push(proxy)
    return { ...place, port }
  }
  try {
    const names: readonly SideName[] = ['direct', 'proxy']
    const sides: Side[] = []
    for (const name of names) if ((options.only ?? name) === name) sides.push(await open(name))
    return { sides, binDir: installation.binDir, [Symbol.asyncDispose]: close }
  } catch (error) {
    await close()
    throw error
  }
}

function configOf(server: PostgresServer, { databases, poolSize = 20 }: SidesOptions): string {
  const entries = [...databases, '*'].map(
    (name) => `  "${name}":
    shards: [{ id: s1, primary: "${server.url(name === '*' ? 'postgres' : name)}" }]
    pool: { size: ${poolSize} }
`,
  )
  return `listen: { host: 127.0.0.1, port: 0 }
http: { host: 127.0.0.1, port: 0 }
users: [{ name: ${user}, password: "${server.password}", admin: true }]
auth:
  query: { user: ${user}, password: "${server.password}", cache: 0 }
log: { level: info }
databases:
${entries.join('')}`
}

async function startProxy(file: string): Promise<{ proxy: ChildProcess; port: number }> {
  const proxy = spawn(process.execPath, [entry, 'serve', '--config', file], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, REDIS_URL: '' },
  })
  let said = ''
  let port = 0
  proxy.stderr?.on('data', (chunk: Buffer) => {
    if (port > 0) return process.stderr.write(chunk)
    said += chunk.toString()
    port = Number(/"port":(\d+)[^\n]*"msg":"ready"/.exec(said)?.[1] ?? 0)
    return true
  })
  const settled = () => port > 0 || proxy.exitCode !== null
  if (!(await waitUntil(settled, startDeadlineMs)) || port === 0) {
    proxy.kill('SIGKILL')
    throw new Error(`the proxy did not start:\n${said}`)
  }
  return { proxy, port }
}

async function ended(child: ChildProcess): Promise<void> {
  child.kill('SIGTERM')
  const gone = () => child.exitCode !== null || child.signalCode !== null
  // The second signal stops it at once, whatever its clients do.
  if (!(await waitUntil(gone, 1_000))) child.kill('SIGTERM')
  if (!(await waitUntil(gone, 5_000))) child.kill('SIGKILL')
}
