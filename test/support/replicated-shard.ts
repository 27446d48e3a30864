// One shard as operations people see it: hosts that each are, at a time, the primary, a replica, or dead. A host keeps
// its name and its port through everything; a host that rejoins gets a new data directory, copied from the primary.
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { assert } from '../../core/assert.ts'
import type { Installation } from '../../demo/installation.ts'
import { freePort } from '../../demo/ports.ts'
import { PostgresServer } from '../../demo/postgres-server.ts'
import { waitUntil } from '../../demo/process.ts'
import { superuser } from '../../demo/roles.ts'
import type { Settings } from '../../demo/settings.ts'
import { withClient } from '../../demo/sql.ts'
import { askServer } from './clients.ts'

/** One server of a shard. */
export type ReplicatedHost = {
  readonly name: string
  readonly port: number
  /** Another object after the host has rejoined. */
  server: PostgresServer
}

export type ReplicatedShardOptions = {
  readonly id: string
  /** Directory of the run. */
  readonly dir: string
  readonly replicas: number
  readonly installation: Installation
  /** A commit is acknowledged once one replica has it on disk. */
  readonly synchronous: boolean
  readonly settings: Settings
}

const streamingDeadlineMs = 20_000
const settledDeadlineMs = 10_000
const letters = 'abcdefgh'

export class ReplicatedShard {
  readonly id: string
  readonly hosts: readonly ReplicatedHost[]
  readonly #options: ReplicatedShardOptions
  #primary: ReplicatedHost

  private constructor(
    options: ReplicatedShardOptions,
    primary: ReplicatedHost,
    hosts: readonly ReplicatedHost[],
  ) {
    this.id = options.id
    this.#options = options
    this.#primary = primary
    this.hosts = hosts
  }

  /** Starts a primary and its replicas, and waits until these stream. */
  static async start(options: ReplicatedShardOptions): Promise<ReplicatedShard> {
    const { id, dir, installation, replicas } = options
    assert(replicas < letters.length, 'hosts are named by letters')
    const names = Array.from({ length: replicas + 1 }, (_, at) => `${id}-${letters.charAt(at)}`)
    const [primaryName = '', ...replicaNames] = names
    const settingsOf = (name: string) => hostSettings(options, name, names)
    const port = await freePort()
    const place = { dir: join(dir, primaryName), port, settings: settingsOf(primaryName) }
    const server = await PostgresServer.create({ installation, ...place })
    // Copied while nobody writes to it, which is the quicker way.
    const copies: ReplicatedHost[] = []
    for (const name of replicaNames) {
      const own = { dir: join(dir, name), port: await freePort(), settings: settingsOf(name) }
      const copy = await PostgresServer.createReplica(server, own)
      copies.push({ name, port: own.port, server: copy })
    }
    const primary = { name: primaryName, port, server }
    const shard = new ReplicatedShard(options, primary, [primary, ...copies])
    await server.start()
    await Promise.all(copies.map((copy) => copy.server.start()))
    await Promise.all(copies.map((copy) => shard.untilStreaming(copy)))
    return shard
  }

  /** The host that was made the primary last; it may be dead. */
  get primary(): ReplicatedHost {
    return this.#primary
  }

  /** All others, dead or alive. */
  get replicas(): readonly ReplicatedHost[] {
    return this.hosts.filter((host) => host !== this.#primary)
  }

  host(name: string): ReplicatedHost {
    const found = this.hosts.find((host) => host.name === name)
    assert(found !== undefined, `there is a host "${name}"`)
    return found
  }

  /** Stops applying what arrives; it still arrives and is still acknowledged. */
  async pauseReplay(host: ReplicatedHost): Promise<void> {
    await ask(host, 'SELECT pg_wal_replay_pause()')
  }

  async resumeReplay(host: ReplicatedHost): Promise<void> {
    await ask(host, 'SELECT pg_wal_replay_resume()')
  }

  /** Commits are applied `delayMs` late; 0: at once. */
  async delayReplay(host: ReplicatedHost, delayMs: number): Promise<void> {
    await setting(host, 'recovery_min_apply_delay', `${delayMs}ms`)
  }

  /** Whether the present primary waits for a replica before it acknowledges a commit. */
  async setSynchronous(on: boolean): Promise<void> {
    const names = on ? anyOf(this.hosts.map(({ name }) => name)) : ''
    await setting(this.#primary, 'synchronous_standby_names', names)
  }

  /** What losing the machine looks like to everybody else. */
  async kill(host: ReplicatedHost): Promise<void> {
    await host.server.kill()
  }

  /** Starts a dead host as what it was: a primary that has been replaced meanwhile does not know that. */
  async restart(host: ReplicatedHost): Promise<void> {
    await host.server.start()
  }

  /** Primary is gone: the replica with everything that any of them has been given. */
  async mostAdvanced(): Promise<ReplicatedHost> {
    const alive = this.replicas.filter(({ server }) => server.running)
    const reached = await Promise.all(alive.map((host) => receivedBy(host)))
    const [first] = alive
      .map((host, at) => ({ host, lsn: reached[at] ?? 0n }))
      .sort((a, b) => Number(b.lsn - a.lsn))
    assert(first !== undefined, 'a replica is alive')
    return first.host
  }

  /** Makes `host` the primary and lets the other running replicas follow it, resumed; the old primary is left as is. */
  async promote(host: ReplicatedHost): Promise<void> {
    const old = this.#primary
    assert(host !== old, 'a replica is promoted')
    await ask(host, 'SELECT pg_promote(wait => true)')
    this.#primary = host
    const others = this.replicas.filter((each) => each !== old && each.server.running)
    await Promise.all(others.map((other) => this.#follow(other)))
  }

  /** Throws the host's data away and makes it a replica of the present primary. */
  async rejoin(host: ReplicatedHost): Promise<void> {
    assert(host !== this.#primary, 'the primary has nobody to follow')
    await host.server.stop('immediate')
    const { dir } = host.server
    await rm(dir, { recursive: true })
    const names = this.hosts.map(({ name }) => name)
    const settings = hostSettings(this.#options, host.name, names)
    const place = { dir, port: host.port, settings }
    host.server = await PostgresServer.createReplica(this.#primary.server, place)
    await host.server.start()
    await this.untilStreaming(host)
  }

  /** Resolves once the primary streams to `host`. */
  async untilStreaming(host: ReplicatedHost): Promise<void> {
    const sql =
      "SELECT FROM pg_stat_replication WHERE application_name = $1 AND state = 'streaming'"
    const streams = await withClient(this.#primary.server.url(), (client) =>
      waitUntil(
        async () => (await client.query(sql, [host.name])).rowCount === 1,
        streamingDeadlineMs,
      ),
    )
    if (!streams) throw new Error(`${host.name} does not follow ${this.#primary.name}`)
  }

  /** Resolves once `host` has applied what the primary has committed by now. */
  async untilReplayed(host: ReplicatedHost): Promise<void> {
    // The insert position may already lie behind a page header, where replay does not get before the next record.
    const lsn = await ask(this.#primary, 'SELECT pg_current_wal_flush_lsn()')
    const sql = 'SELECT FROM pg_last_wal_replay_lsn() AS replayed WHERE replayed >= $1::pg_lsn'
    const arrived = await withClient(host.server.url(), (client) =>
      waitUntil(async () => (await client.query(sql, [lsn])).rowCount === 1, settledDeadlineMs),
    )
    if (!arrived) throw new Error(`${host.name} does not replay up to ${lsn}`)
  }

  async stop(): Promise<void> {
    await Promise.all(this.hosts.map(({ server }) => server.stop('immediate')))
  }

  async #follow(host: ReplicatedHost): Promise<void> {
    const { password } = this.#primary.server
    const place = `host=127.0.0.1 port=${this.#primary.port}`
    const conninfo = `${place} user=${superuser} password=${password}`
    await setting(host, 'primary_conninfo', conninfo)
    // It is replay that asks for more to be sent: while it is paused, nobody connects to the new primary.
    await this.resumeReplay(host)
    await this.untilStreaming(host)
  }
}

function hostSettings(
  { settings, synchronous }: ReplicatedShardOptions,
  name: string,
  names: readonly string[],
): Settings {
  return {
    shared_buffers: '16MB',
    wal_keep_size: '64MB',
    wal_receiver_timeout: '5s',
    // Queries on a replica do not hold its replay up, nor does it tell the primary of them.
    max_standby_streaming_delay: '1s',
    // The name by which it is known to its primary.
    cluster_name: name,
    synchronous_standby_names: synchronous ? anyOf(names) : '',
    ...settings,
  }
}

function anyOf(names: readonly string[]): string {
  return `ANY 1 (${names.map((name) => `"${name}"`).join(', ')})`
}

/** End of the log that the host has, once nothing comes in any more. */
async function receivedBy(host: ReplicatedHost): Promise<bigint> {
  return withClient(host.server.url(), async (client) => {
    const silent = async () =>
      (await client.query('SELECT FROM pg_stat_wal_receiver')).rowCount === 0
    if (!(await waitUntil(silent, settledDeadlineMs))) {
      throw new Error(`${host.name} still receives`)
    }
    const { rows } = await client.query<{ bytes: string }>(
      `SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0' AS bytes`,
    )
    return BigInt(rows[0]?.bytes ?? 0)
  })
}

/** Sets a server setting that needs no restart. */
async function setting(host: ReplicatedHost, name: string, value: string): Promise<void> {
  await withClient(host.server.url(), async (client) => {
    await client.query(`ALTER SYSTEM SET ${name} = '${value.replaceAll("'", "''")}'`)
    await client.query('SELECT pg_reload_conf()')
  })
}

/** First column of the first row, asked as the superuser. */
async function ask(host: ReplicatedHost, sql: string): Promise<string> {
  const [first = null] = await askServer(host.server.url(), sql)
  return first ?? ''
}
