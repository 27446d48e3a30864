// What the run happens on: three shards, two proxies on ports of their own, and movers. All are processes; between each
// proxy or mover and each shard there is a relay that can misbehave. The first shard has the catalog.
import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { initialise } from '../../../catalog/migrate.ts'
import { assert } from '../../../core/assert.ts'
import { shardId } from '../../../core/ids.ts'
import { freePort } from '../../../demo/ports.ts'
import { PostgresServer } from '../../../demo/postgres-server.ts'
import { demoRole } from '../../../demo/roles.ts'
import { openRun, type Run } from '../../../demo/run.ts'
import { withClient } from '../../../demo/sql.ts'
import type { ShardingRules } from '../../../router/schema.ts'
import { type FaultProxy, startFaultProxy } from '../../support/fault-proxy.ts'
import { installationOf } from '../../support/postgres-installation.ts'
import type { Place } from '../../support/stack.ts'
import { Child } from './child.ts'
import { ddl, openingRows, withoutStrangers } from './schema.ts'

export type StackOptions = {
  /** Major version of PostgreSQL. */
  readonly version: number
  /** Where programs write what they have to say. */
  readonly logDir: string
  /** Servers log every statement. */
  readonly logStatements: boolean
  /** How many movers may run at once. */
  readonly movers: number
}

export type ChaosShard = { readonly id: string; readonly server: PostgresServer }

/** A way that packets take. */
export type Way = { readonly from: string; readonly shard: string; readonly relay: FaultProxy }

const host = '127.0.0.1'
const shardIds = ['s1', 's2', 's3'] as const
export const proxyCount = 2
const readyDeadlineMs = 30_000
const startTriesMax = 200
const program = fileURLToPath(new URL('../../../cli/main.ts', import.meta.url))
const rules: ShardingRules = {
  key: 'tenant_id',
  keyType: 'bigint',
  vnodeCount: 4096,
  tables: new Map([['price', { placement: 'reference' }]]),
}

/** Starts everything. What does not come up leaves nothing running. */
export async function startStack(options: StackOptions): Promise<ChaosStack> {
  const run = await openRun(null)
  const stack = new ChaosStack(run, options)
  try {
    await stack.start()
    return stack
  } catch (error) {
    await stack.stop()
    throw error
  }
}

export class ChaosStack {
  readonly #run: Run
  readonly #options: StackOptions
  readonly #proxyPorts: number[] = []
  readonly #httpPorts: number[] = []
  readonly #proxies: (Child | null)[] = []
  readonly ways: Way[] = []
  #shards: readonly ChaosShard[] = []
  #stopped = false

  constructor(run: Run, options: StackOptions) {
    this.#run = run
    this.#options = options
  }

  /** The first one is the home shard. */
  get shards(): readonly ChaosShard[] {
    return this.#shards
  }

  shard(id: string): ChaosShard {
    const found = this.#shards.find((shard) => shard.id === id)
    assert(found !== undefined, `there is a shard "${id}"`)
    return found
  }

  /** For the superuser, past proxies and relays. */
  url(id: string): string {
    return this.shard(id).server.url(demoRole.database)
  }

  get catalogUrl(): string {
    return this.url(shardIds[0])
  }

  /** Where clients of a proxy connect, whatever happens to it. */
  place(proxy: number): Place {
    const { name: user, password, database } = demoRole
    return { host, port: this.#proxyPorts[proxy] ?? 0, user, password, database }
  }

  /** Of a proxy's metrics. */
  httpPort(proxy: number): number {
    return this.#httpPorts[proxy] ?? 0
  }

  /** Starts the command line for mover `at`. */
  startMover(at: number, args: readonly string[]): Promise<Child> {
    const dir = this.#dirOf(`mover-${at}`)
    const [command = '', ...rest] = args
    return Child.start({
      dir,
      argv: [program, 'rebalance', command, '--config', join(dir, 'ringfence.yaml'), ...rest],
      logFile: join(this.#options.logDir, `mover-${at}.log`),
    })
  }

  /** False when it did not run. */
  async killProxy(at: number): Promise<boolean> {
    const child = this.#proxies[at] ?? null
    this.#proxies[at] = null
    await child?.kill()
    return child !== null
  }

  /** Lets the proxy do nothing for `ms`. */
  async freezeProxy(at: number, ms: number): Promise<void> {
    const child = this.#proxies[at] ?? null
    child?.freeze()
    await delay(ms)
    child?.thaw()
  }

  /** As whoever supervises it would: without the catalog it does not start, and is started again. */
  async startProxy(at: number, triesMax = startTriesMax): Promise<void> {
    for (let tries = 1; !this.#stopped; tries += 1) {
      const child = await Child.start({
        dir: this.#dirOf(`proxy-${at}`),
        argv: [program, 'serve', '--config', join(this.#dirOf(`proxy-${at}`), 'ringfence.yaml')],
        logFile: join(this.#options.logDir, `proxy-${at}.log`),
      })
      if (await child.hasWritten(/"msg":"ready"/, readyDeadlineMs)) {
        this.#proxies[at] = child
        return
      }
      await child.kill()
      if (tries === triesMax) throw new Error(`proxy ${at}: ${await child.output()}`)
      await delay(100)
    }
  }

  async start(): Promise<void> {
    const installation = await installationOf(this.#options.version)
    const starting = shardIds.map(async (id) => {
      const server = await PostgresServer.create({
        installation,
        dir: join(this.#run.dir, id),
        port: await freePort(),
        settings: {
          shared_buffers: '32MB',
          max_wal_size: '128MB',
          checkpoint_timeout: '30s',
          log_line_prefix: '%m [%p] %x %a ',
          log_statement: this.#options.logStatements ? 'all' : 'none',
        },
      })
      await server.start()
      return { id, server }
    })
    const settled = await Promise.allSettled(starting)
    this.#shards = settled.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
    await Promise.all(starting)
    await this.#fill()
    for (let at = 0; at < proxyCount; at += 1) {
      this.#proxyPorts.push(await freePort())
      this.#httpPorts.push(await freePort())
      this.#proxies.push(null)
      await this.#configure(`proxy-${at}`, this.#proxyPorts[at], this.#httpPorts[at])
      await this.startProxy(at, 1)
    }
    for (let at = 0; at < this.#options.movers; at += 1) await this.#configure(`mover-${at}`)
  }

  /** Ends every process and every relay; safe to call again. */
  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#proxies.map((_, at) => this.killProxy(at)))
    await Promise.all(this.#shards.map(({ server }) => server.stop('immediate')))
    await Promise.all(this.ways.map(({ relay }) => relay.close()))
    for (const { id, server } of this.#shards) {
      await copyFile(join(server.dir, 'log'), join(this.#options.logDir, `${id}.log`))
    }
    await this.#run.end()
  }

  async #fill(): Promise<void> {
    for (const { id } of this.#shards) {
      await withClient(this.url(id), async (client) => {
        await client.query(`ALTER ROLE ${demoRole.name} SUPERUSER`)
        await client.query(`SET ROLE ${demoRole.name}; ${ddl}`)
        await client.query(openingRows)
      })
    }
    const { name, password, database } = demoRole
    const shards = this.#shards.map(({ id, server }) => {
      const url = `postgres://${name}:${password}@${host}:${server.port}/${database}`
      return { id: shardId(id), url, weight: 1 }
    })
    await initialise({ shards, rules })
    const owned = await withClient(this.catalogUrl, async (client) => {
      const { rows } = await client.query<{ shard: string; vnodes: number[] }>(
        'SELECT shard, array_agg(vnode) AS vnodes FROM ringfence.vnode GROUP BY shard',
      )
      return new Map(rows.map(({ shard, vnodes }) => [shard, vnodes]))
    })
    for (const { id } of this.#shards) {
      await withClient(this.url(id), (client) =>
        client.query(
          `SET session_replication_role = replica; ${withoutStrangers(owned.get(id) ?? [])}`,
        ),
      )
    }
  }

  /** A configuration of its own, in which each shard is found behind a relay of its own. */
  async #configure(who: string, port = 0, httpPort = 0): Promise<void> {
    const { name, password, database } = demoRole
    const shards: { id: string; primary: string }[] = []
    for (const { id, server } of this.#shards) {
      const relay = await startFaultProxy({ host, port: server.port })
      this.ways.push({ from: who, shard: id, relay })
      const primary = `postgres://${name}:${password}@${host}:${relay.port}/${database}`
      shards.push({ id, primary })
    }
    const settings = {
      listen: { host, port },
      http: { host, port: httpPort },
      users: [{ name, password, admin: true }],
      log: { level: 'info' },
      databases: {
        [database]: {
          pool: { size: 10, query_wait_timeout: '30s' },
          server_user: { name, password },
          shards,
          sharding: {
            key: rules.key,
            key_type: rules.keyType,
            vnodes: rules.vnodeCount,
            tables: { price: { placement: 'reference' } },
          },
          failover: { wait: '10s', probe: '500ms' },
        },
      },
    }
    const dir = this.#dirOf(who)
    await mkdir(dir, { recursive: true })
    // JSON is YAML too.
    await writeFile(join(dir, 'ringfence.yaml'), JSON.stringify(settings))
  }

  #dirOf(who: string): string {
    return join(this.#run.dir, who)
  }
}
