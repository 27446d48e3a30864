// pgpool, PgDog, Odyssey and PgCat, where PATH has them: their defaults, but for transaction mode
// and the size of the pool. pgpool lends every client a server connection of its own, so that it
// takes no more clients than it has processes. A pooler that does not start is left out, said aloud.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import type { Cluster } from '../demo/cluster.ts'
import { freePort } from '../demo/ports.ts'
import { demoRole } from '../demo/roles.ts'
import { serverUser } from '../demo/server-user.ts'
import { findProgram } from '../test/clients/find-program.ts'
import {
  moreThan,
  noReplicas,
  type OtherPooler,
  type Peer,
  peerDirectory,
  serverConnections,
  type Starter,
  startProxy,
  takesAll,
  writeForServers,
} from './peers.ts'

type Place = { readonly dir: string; readonly port: number; readonly serverPort: number }

type Pooler = {
  readonly program: string
  /** Of a directory of its own, by name. */
  readonly files: (place: Place) => Readonly<Record<string, string>>
  readonly argv: (file: (name: string) => string) => readonly string[]
  readonly cannot: Peer['cannot']
}

/** Processes of pgpool; each has a connection to the server. */
const pgpoolProcesses = 300

const poolers: Readonly<Record<OtherPooler, Pooler>> = {
  pgpool: {
    program: 'pgpool',
    files: ({ dir, port, serverPort }) => ({
      'pgpool.conf': keyValues({
        listen_addresses: '127.0.0.1',
        port,
        // Before 4.4, and since.
        socket_dir: dir,
        unix_socket_directories: dir,
        pcp_listen_addresses: '',
        pcp_socket_dir: dir,
        pid_file_name: join(dir, 'pgpool.pid'),
        logdir: dir,
        work_dir: dir,
        backend_clustering_mode: 'raw',
        backend_hostname0: '127.0.0.1',
        backend_port0: serverPort,
        num_init_children: pgpoolProcesses,
        max_pool: 1,
        enable_pool_hba: 'on',
        pool_passwd: join(dir, 'pool_passwd'),
      }),
      'pool_hba.conf': 'host all all 127.0.0.1/32 scram-sha-256\n',
      pool_passwd: `${demoRole.name}:TEXT${demoRole.password}\n`,
      pgpoolkey: '',
      'pcp.conf': '',
    }),
    argv: (file) => {
      const files = ['-f', file('pgpool.conf'), '-a', file('pool_hba.conf')]
      return ['-n', ...files, '-k', file('pgpoolkey'), '-F', file('pcp.conf')]
    },
    cannot: moreThan(pgpoolProcesses),
  },
  PgDog: {
    program: 'pgdog',
    files: ({ port, serverPort }) => ({
      'pgdog.toml': `[general]
host = "127.0.0.1"
port = ${port}
default_pool_size = ${serverConnections}

[[databases]]
name = "${demoRole.database}"
host = "127.0.0.1"
port = ${serverPort}
`,
      'users.toml': `[[users]]
name = "${demoRole.name}"
database = "${demoRole.database}"
password = "${demoRole.password}"
`,
    }),
    argv: (file) => ['--config', file('pgdog.toml'), '--users', file('users.toml')],
    cannot: takesAll,
  },
  Odyssey: {
    program: 'odyssey',
    files: ({ dir, port, serverPort }) => ({
      'odyssey.conf': `daemonize no
unix_socket_dir "${dir}"
log_format "%p %t %l [%i %s] (%c) %m\\n"
log_to_stdout yes
log_session no
log_stats no
listen {
  host "127.0.0.1"
  port ${port}
  backlog 4096
}
storage "server" {
  type "remote"
  host "127.0.0.1"
  port ${serverPort}
}
database "${demoRole.database}" {
  user "${demoRole.name}" {
    authentication "scram-sha-256"
    password "${demoRole.password}"
    storage "server"
    storage_password "${demoRole.password}"
    pool "transaction"
    pool_size ${serverConnections}
    pool_reserve_prepared_statement yes
  }
}
`,
    }),
    argv: (file) => [file('odyssey.conf')],
    cannot: takesAll,
  },
  PgCat: {
    program: 'pgcat',
    files: ({ port, serverPort }) => ({
      'pgcat.toml': `[general]
host = "127.0.0.1"
port = ${port}
admin_username = "admin"
admin_password = "admin"

[pools.${demoRole.database}]
pool_mode = "transaction"
prepared_statements_cache_size = 500

[pools.${demoRole.database}.users.0]
username = "${demoRole.name}"
password = "${demoRole.password}"
pool_size = ${serverConnections}

[pools.${demoRole.database}.shards.0]
servers = [["127.0.0.1", ${serverPort}, "primary"]]
database = "${demoRole.database}"
`,
    }),
    argv: (file) => [file('pgcat.toml')],
    cannot: takesAll,
  },
}

/** In the order of the report. */
export const otherPoolers = ['pgpool', 'PgDog', 'Odyssey', 'PgCat'] as const

/** The pooler before the first server; undefined when PATH does not have it. */
export async function prepareOther(
  cluster: Cluster,
  name: OtherPooler,
): Promise<Starter | undefined> {
  const pooler = poolers[name]
  const program = findProgram(pooler.program)
  if (program === undefined) return undefined
  const dir = await peerDirectory(cluster, pooler.program)
  const file = (name: string) => join(dir, name)
  const { database } = demoRole
  const start = async (): Promise<Peer> => {
    const port = await freePort()
    const serverPort = cluster.shards[0]?.primary.port ?? 0
    for (const [name, text] of Object.entries(pooler.files({ dir, port, serverPort }))) {
      await writeForServers(file(name), text)
    }
    const proxy = { program, argv: pooler.argv(file), dir, user: serverUser() }
    const process = await startProxy({ ...proxy, port, database })
    const version = versionOf(program)
    return { ...noReplicas, ...process, name, version, cannot: pooler.cannot, port, database }
  }
  return { name, start }
}

function versionOf(program: string): string {
  const { stdout, stderr } = spawnSync(program, ['--version'], { encoding: 'utf8' })
  return /\d+\.\d+(?:\.\d+)?/.exec(`${stdout ?? ''}${stderr ?? ''}`)?.[0] ?? 'unknown'
}

function keyValues(settings: Readonly<Record<string, string | number>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name} = '${value}'\n`)
    .join('')
}
