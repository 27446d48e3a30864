// A whole installation: shards with replicas, Redis, and several proxies before them, with a
// relay that can misbehave (fault-proxy.ts) on each way from a proxy to what it talks to, where wanted.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { initialise } from '../../catalog/migrate.ts'
import { assert } from '../../core/assert.ts'
import { shardId } from '../../core/ids.ts'
import { freePort } from '../../demo/ports.ts'
import { demoUrl } from '../../demo/cluster.ts'
import { demoRole } from '../../demo/roles.ts'
import { openRun, type Run } from '../../demo/run.ts'
import type { Settings } from '../../demo/settings.ts'
import { withClient } from '../../demo/sql.ts'
import type { ShardingRules } from '../../router/schema.ts'
import { type FaultProxy, startFaultProxy } from './fault-proxy.ts'
import { embeddedVersion, installationOf } from './postgres-installation.ts'
import { RedisProcess } from './redis-process.ts'
import {
  type ProxyPlan,
  type ReplicatedProxy,
  startInProcess,
  startProgram,
} from './replicated-proxy.ts'
import { ReplicatedShard } from './replicated-shard.ts'
import type { Place } from './stack.ts'

export type ReplicatedStackOptions = {
  readonly shards: number
  /** Of each shard. */
  readonly replicas: number
  readonly proxies: number
  /** Where the proxies run; `program` ones can be killed. Default: inProcess. */
  readonly proxyKind?: 'inProcess' | 'program'
  /** Major version of PostgreSQL; the embedded one when missing. */
  readonly version?: number
  /** Default: with more than one shard. The key is tenant_id. */
  readonly sharded?: boolean
  readonly redis?: boolean
  /** With a relay on each way from a proxy; without, they connect directly. */
  readonly relays?: boolean
  /** A commit is acknowledged once a replica has it. */
  readonly synchronous?: boolean
  /** Run on every shard's primary before there are proxies, separated by empty lines. */
  readonly setupSql?: string
  readonly settings?: Settings
  readonly reads?: ProxyPlan['reads']
  readonly failover?: ProxyPlan['failover']
  /** Server connections per host and proxy. */
  readonly poolSize?: number
}

const rules: ShardingRules = {
  key: 'tenant_id',
  keyType: 'bigint',
  vnodeCount: 4096,
  tables: new Map(),
}

/** Starts everything. A stack that does not come up leaves nothing running. */
export async function startReplicatedStack(
  options: ReplicatedStackOptions,
): Promise<ReplicatedStack> {
  const run = await openRun(null)
  const stack = new ReplicatedStack(run, options)
  try {
    await stack.start()
    return stack
  } catch (error) {
    await stack.stop()
    throw error
  }
}

export class ReplicatedStack {
  readonly #run: Run
  readonly #options: ReplicatedStackOptions
  readonly #relays = new Map<string, FaultProxy>()
  readonly #tokenKey = randomBytes(24).toString('hex')
  readonly #plans: ProxyPlan[] = []
  readonly #proxies: (ReplicatedProxy | null)[] = []
  #shards: readonly ReplicatedShard[] = []
  #redis: RedisProcess | null = null

  constructor(run: Run, options: ReplicatedStackOptions) {
    this.#run = run
    this.#options = options
  }

  get shards(): readonly ReplicatedShard[] {
    return this.#shards
  }

  get proxyCount(): number {
    return this.#plans.length
  }

  get redis(): RedisProcess {
    assert(this.#redis !== null, 'the stack has a Redis')
    return this.#redis
  }

  /** Where clients of a proxy connect; the same after it was killed and started again. */
  place(proxy: number): Place {
    const plan = this.#plans[proxy]
    assert(plan !== undefined, `there is a proxy ${proxy}`)
    const { name: user, password, database } = demoRole
    return { host: '127.0.0.1', port: plan.port, user, password, database }
  }

  /** The proxy while it runs. */
  proxy(at: number): ReplicatedProxy {
    const proxy = this.#proxies[at] ?? null
    assert(proxy !== null, `proxy ${at} runs`)
    return proxy
  }

  /** The way from a proxy to a host, such as `s1-a`, or to `redis`. */
  relay(proxy: number, to: string): FaultProxy {
    const relay = this.#relays.get(`${proxy} ${to}`)
    assert(relay !== undefined, `there is a relay from proxy ${proxy} to ${to}`)
    return relay
  }

  /** Ends a proxy at once, with all its connections. */
  async killProxy(at: number): Promise<void> {
    await this.proxy(at).stop()
    this.#proxies[at] = null
  }

  async startProxy(at: number): Promise<void> {
    const plan = this.#plans[at]
    assert(plan !== undefined && !this.#proxies[at], `proxy ${at} is planned and does not run`)
    const program = this.#options.proxyKind === 'program'
    this.#proxies[at] = program
      ? await startProgram(plan, this.#run.dir)
      : await startInProcess(plan)
  }

  async start(): Promise<void> {
    const { shards, proxies, redis = false, setupSql = '' } = this.#options
    const ids = Array.from({ length: shards }, (_, at) => `s${at + 1}`)
    this.#shards = await this.#startShards(ids)
    if (redis) this.#redis = await RedisProcess.start(join(this.#run.dir, 'redis'))
    for (const shard of this.#shards) await runOn(demoUrl(shard.primary.server), setupSql)
    if (this.#sharded) {
      await initialise({
        rules,
        shards: this.#shards.map(({ id, primary }) => ({
          id: shardId(id),
          url: demoUrl(primary.server),
          weight: 1,
        })),
      })
    }
    for (let at = 0; at < proxies; at += 1) this.#plans.push(await this.#plan(at))
    await Promise.all(this.#plans.map((_, at) => this.startProxy(at)))
  }

  async stop(): Promise<void> {
    const running = this.#proxies.filter((proxy) => proxy !== null)
    await Promise.allSettled(running.map((proxy) => proxy.stop()))
    await Promise.allSettled([...this.#relays.values()].map((relay) => relay.close()))
    await Promise.allSettled([...this.#shards.map((shard) => shard.stop()), this.#redis?.kill()])
    await this.#run.end()
  }

  get #sharded(): boolean {
    return this.#options.sharded ?? this.#options.shards > 1
  }

  async #startShards(ids: readonly string[]): Promise<ReplicatedShard[]> {
    const { replicas, synchronous = false, settings = {} } = this.#options
    const installation = await installationOf(this.#options.version ?? embeddedVersion)
    const { dir } = this.#run
    const starting = ids.map((id) =>
      ReplicatedShard.start({ id, dir, replicas, installation, synchronous, settings }),
    )
    await Promise.allSettled(starting)
    return Promise.all(starting)
  }

  async #plan(at: number): Promise<ProxyPlan> {
    const shards = []
    for (const { id, hosts } of this.#shards) {
      const ports: number[] = []
      for (const { name, port } of hosts) ports.push(await this.#way(at, name, port))
      const [primaryPort = 0, ...replicaPorts] = ports
      shards.push({ id, primaryPort, replicaPorts })
    }
    const redis = this.#redis
    const { reads = {}, failover = {}, poolSize = 10 } = this.#options
    return {
      name: `proxy-${at}`,
      port: await freePort(),
      shards,
      redisPort: redis === null ? null : await this.#way(at, 'redis', redis.port),
      rules: this.#sharded ? rules : null,
      tokenKey: this.#tokenKey,
      reads,
      failover,
      poolSize,
    }
  }

  /** Port by which a proxy reaches what listens on `port`. */
  async #way(proxy: number, to: string, port: number): Promise<number> {
    if (this.#options.relays !== true) return port
    const relay = await startFaultProxy({ host: '127.0.0.1', port })
    this.#relays.set(`${proxy} ${to}`, relay)
    return relay.port
  }
}

async function runOn(url: string, sql: string): Promise<void> {
  await withClient(url, async (client) => {
    for (const statement of sql.split(/\n\s*\n/)) {
      if (statement.trim() !== '') await client.query(statement)
    }
  })
}
