// A PostgreSQL server with TLS, whose certificate and rules the tests change while it runs.
import { chmod, copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PostgresServer } from '../../demo/postgres-server.ts'
import { giveToServers, openToServers } from '../../demo/server-user.ts'
import { certificateFile } from './certificates.ts'
import { askServer, until } from './clients.ts'
import { embeddedVersion, installationOf } from './postgres-installation.ts'

export type TlsServer = {
  readonly server: PostgresServer
  /** Shows another certificate to connections from now on. */
  show(name: 'server' | 'elsewhere' | 'stranger-server'): Promise<void>
  /** Goes by these lines of pg_hba.conf from now on, behind one for the tests’ own questions. */
  admit(...rules: readonly string[]): Promise<void>
  stop(): Promise<void>
}

/** Asked through the Unix socket: nothing else has to get in for it. */
const own = 'local all all scram-sha-256'

/** Trusts client certificates of `ca`. */
export async function startTlsServer(): Promise<TlsServer> {
  const dir = await mkdtemp(join(tmpdir(), 'rf-tls-'))
  await openToServers(dir)
  const file = (name: string) => join(dir, 'server', name)
  const server = await PostgresServer.create({
    dir: join(dir, 'server'),
    installation: await installationOf(embeddedVersion),
    settings: {
      ssl: 'on',
      ssl_cert_file: file('server.crt'),
      ssl_key_file: file('server.key'),
      ssl_ca_file: file('ca.crt'),
      hba_file: file('hba.conf'),
    },
  })
  const give = async (from: string, to: string) => {
    await copyFile(from, file(to))
    await chmod(file(to), 0o600)
    await giveToServers(file(to))
  }
  const install = async (name: Parameters<TlsServer['show']>[0]) => {
    await give(certificateFile(`${name}.crt`), 'server.crt')
    await give(certificateFile(`${name}.key`), 'server.key')
  }
  const rules = async (lines: readonly string[]) => {
    await writeFile(file('hba.conf'), `${[own, ...lines].join('\n')}\n`)
    await giveToServers(file('hba.conf'))
  }
  /** The postmaster reads everything again; who connects later meets what it has read. */
  const reload = async () => {
    const url = socketUrl(server)
    const [before] = await askServer(url, 'SELECT pg_conf_load_time()::text')
    await askServer(url, 'SELECT pg_reload_conf()')
    await until('the server has reloaded', async () => {
      return (await askServer(url, 'SELECT pg_conf_load_time()::text'))[0] !== before
    })
  }
  await give(certificateFile('ca.crt'), 'ca.crt')
  await install('server')
  await rules(['host all all all scram-sha-256'])
  await server.start()
  return {
    server,
    show: async (name) => {
      await install(name)
      await reload()
    },
    admit: async (...lines) => {
      await rules(lines)
      await reload()
    },
    stop: async () => {
      await server.stop('immediate')
      await rm(dir, { recursive: true, force: true })
    },
  }
}

function socketUrl(server: PostgresServer): string {
  const url = new URL(server.url())
  return `postgres://${url.username}:${url.password}@${encodeURIComponent(server.socketDir ?? '')}:${server.port}/postgres`
}
