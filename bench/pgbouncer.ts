// PgBouncer in transaction mode, as a peer: its own defaults but for the sizes that all proxies share.
import { spawnSync } from 'node:child_process'
import { access, copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Cluster } from '../demo/cluster.ts'
import { freePort } from '../demo/ports.ts'
import { demoRole } from '../demo/roles.ts'
import { giveToServers, serverUser } from '../demo/server-user.ts'
import { findProgram } from '../test/clients/find-program.ts'
import { certificateFile } from '../test/support/certificates.ts'
import {
  clientsMax,
  noReplicas,
  type Peer,
  peerDirectory,
  serverConnections,
  type Starter,
  startProxy,
  writeForServers,
} from './peers.ts'

/** Its program: PGBOUNCER, PATH, or where Debian puts it. Undefined when there is none. */
export async function findPgbouncer(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const named = env['PGBOUNCER']
  if (named !== undefined && named !== '') return named
  // Not on the PATH of ordinary users.
  const debian = '/usr/sbin/pgbouncer'
  const there = await access(debian).then(
    () => true,
    () => false,
  )
  return findProgram('pgbouncer') ?? (there ? debian : undefined)
}

/** PgBouncer before the first server. */
export async function preparePgbouncer(cluster: Cluster, program: string): Promise<Starter> {
  const version = pgbouncerVersion(program)
  const { name, password, database } = demoRole
  const dir = await peerDirectory(cluster, 'pgbouncer')
  const file = (name: string) => join(dir, name)
  await writeForServers(file('users.txt'), `"${name}" "${password}"\n`)
  for (const kind of ['server.crt', 'server.key'] as const) {
    await copyFile(certificateFile(kind), file(kind))
    await giveToServers(file(kind))
  }
  const settings = (port: number) => ({
    listen_addr: '127.0.0.1',
    listen_port: port,
    unix_socket_dir: '',
    auth_type: 'scram-sha-256',
    auth_file: file('users.txt'),
    pool_mode: 'transaction',
    default_pool_size: serverConnections,
    max_client_conn: clientsMax,
    client_tls_sslmode: 'allow',
    client_tls_cert_file: file('server.crt'),
    client_tls_key_file: file('server.key'),
    log_connections: 0,
    log_disconnections: 0,
    ...(preparesStatements(version) ? { max_prepared_statements: 200 } : {}),
  })
  const start = async (): Promise<Peer> => {
    const port = await freePort()
    const server = `host=127.0.0.1 port=${cluster.shards[0]?.primary.port ?? 0}`
    const lines = Object.entries(settings(port)).map(([key, value]) => `${key} = ${value}`)
    const ini = ['[databases]', `${database} = ${server}`, '[pgbouncer]', ...lines, '']
    await writeForServers(file('pgbouncer.ini'), ini.join('\n'))
    const proxy = { program, argv: [file('pgbouncer.ini')], dir, user: serverUser() }
    const process = await startProxy({ ...proxy, port, database })
    const cannot = ({ protocol }: { readonly protocol: string }) =>
      protocol === 'prepared' ? notPrepared(version) : null
    return { ...noReplicas, ...process, name: 'PgBouncer', version, cannot, port, database }
  }
  return { name: 'PgBouncer', start }
}

/** Protocol-level prepared statements in transaction mode came with PgBouncer 1.21. */
export function preparesStatements(pgbouncerVersion: string): boolean {
  const [major = 0, minor = 0] = pgbouncerVersion.split('.').map(Number)
  return major > 1 || (major === 1 && minor >= 21)
}

function notPrepared(version: string): string | null {
  if (preparesStatements(version)) return null
  return `PgBouncer ${version} keeps no prepared statements in transaction mode (1.21 does)`
}

function pgbouncerVersion(program: string): string {
  const { stdout, error } = spawnSync(program, ['--version'], { encoding: 'utf8' })
  const version = /PgBouncer (\d+\.\d+(?:\.\d+)?)/.exec(stdout ?? '')?.[1]
  if (version !== undefined) return version
  throw new Error(`"${program}" is no PgBouncer: ${error?.message ?? stdout}`)
}
