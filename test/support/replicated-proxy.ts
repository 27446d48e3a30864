// The proxies of a replicated stack: in this process, where a test can look into them, or processes of their own, which
// can be killed. Both are given the same plan of what they stand before.
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../../core/clock.ts'
import { usualLimits } from '../../pool/pool-options.ts'
import { usualServers } from '../../proxy/database-options.ts'
import { usualSessions } from '../../proxy/session-limits.ts'
import { shardId } from '../../core/ids.ts'
import { createLog } from '../../core/log.ts'
import { pidFile } from '../../demo/leftovers.ts'
import { demoRole } from '../../demo/roles.ts'
import type { DatabaseOptions } from '../../proxy/database-options.ts'
import { Proxy } from '../../proxy/proxy.ts'
import type { ShardingRules } from '../../router/schema.ts'
import { Program } from '../cli/program.ts'

/** What a proxy stands before: ports on 127.0.0.1. */
export type ProxyPlan = {
  readonly name: string
  /** Port of its own. */
  readonly port: number
  /** Of each shard the host that comes first in the configuration, and the others. */
  readonly shards: readonly {
    readonly id: string
    readonly primaryPort: number
    readonly replicaPorts: readonly number[]
  }[]
  readonly redisPort: number | null
  readonly rules: ShardingRules | null
  readonly tokenKey: string
  readonly reads: Partial<Omit<DatabaseOptions['reads'], 'functions'>>
  readonly failover: Partial<DatabaseOptions['failover']>
  readonly poolSize: number
}

/** A proxy of either kind. */
export type ReplicatedProxy = {
  readonly port: number
  /** Null for a process of its own. */
  readonly instance: Proxy | null
  stop(): Promise<void>
}

const host = '127.0.0.1'
const readsByDefault = {
  target: 'auto',
  consistency: 'session',
  maxLagMs: 1_000,
  rywWaitMs: 50,
  includePrimary: false,
  zone: null,
} as const
const failoverByDefault = { waitMs: 10_000, probeMs: 500 } as const
const redisTimes = { ttlMs: 3_600_000, timeoutMs: 100 } as const

/** Starts a proxy in this process. */
export async function startInProcess(plan: ProxyPlan): Promise<ReplicatedProxy> {
  const redis = plan.redisPort === null ? null : { url: redisUrl(plan.redisPort), ...redisTimes }
  const instance = await Proxy.start({
    version: 'test',
    listen: { host, port: plan.port },
    http: null,
    users: [
      {
        name: demoRole.name,
        secret: { kind: 'password', password: demoRole.password },
        admin: true,
      },
    ],
    authRules: [{ database: null, user: null, address: null, method: 'scram' }],
    databases: [databaseOf(plan)],
    redis,
    tokenKey: plan.tokenKey,
    limits: {
      frameBytesMax: 256 * 1024 * 1024,
      frameBytesBeforeLoginMax: 16 * 1024,
      loginTimeoutMs: 10_000,
      connectTimeoutMs: 2_000,
    },
    clock: systemClock,
    log: createLog('error'),
  })
  return { port: instance.port, instance, stop: () => instance.close() }
}

function databaseOf(plan: ProxyPlan): DatabaseOptions {
  const login = { name: demoRole.name, password: demoRole.password }
  return {
    name: demoRole.database,
    shards: plan.shards.map(({ id, primaryPort, replicaPorts }) => ({
      id: shardId(id),
      host,
      port: primaryPort,
      database: demoRole.database,
      login: null,
      zone: null,
      replicas: replicaPorts.map((port) => ({ host, port, zone: null, weight: 1 })),
      patroniUrls: [],
    })),
    serverUser: login,
    catalogUser: login,
    rules: plan.rules,
    scatter: 'allow',
    crossShardWrites: 'two_phase',
    clientsMax: 1_000,
    pin: 'allow',
    ...usualSessions,
    ...usualServers,
    reads: {
      ...readsByDefault,
      functions: { allow: new Set(), deny: new Set() },
      ...plan.reads,
    },
    failover: { ...failoverByDefault, ...plan.failover },
    readOnlyAlias: null,
    pool: {
      ...usualLimits,
      size: plan.poolSize,
      waitersMax: 1_000,
      queryWaitTimeoutMs: 30_000,
      serverLifetimeMs: 3_600_000,
      serverIdleTimeoutMs: 600_000,
    },
  }
}

/** Starts a proxy as `ringfence serve`, with a directory of its own in the run's. `stop` kills it. */
export async function startProgram(plan: ProxyPlan, runDir: string): Promise<ReplicatedProxy> {
  const dir = join(runDir, plan.name)
  await mkdir(dir, { recursive: true })
  const path = join(dir, 'ringfence.yaml')
  // JSON is YAML too.
  await writeFile(path, JSON.stringify(settingsOf(plan)))
  const program = new Program(['serve', '--config', path])
  // By which the run's watchdog finds it when this process dies first.
  await writeFile(join(dir, pidFile), String(program.pid))
  await program.printed('stderr', /"msg":"ready"/)
  return {
    port: plan.port,
    instance: null,
    stop: async () => {
      program.signal('SIGKILL')
      await program.ended()
    },
  }
}

/** The settings of config/settings.ts that say the same as `databaseOf`. */
function settingsOf(plan: ProxyPlan): unknown {
  const { reads, failover, rules } = plan
  const { target, consistency, maxLagMs, rywWaitMs } = { ...readsByDefault, ...reads }
  const { waitMs, probeMs } = { ...failoverByDefault, ...failover }
  const url = (port: number) =>
    `postgres://${demoRole.name}:${demoRole.password}@${host}:${port}/${demoRole.database}`
  return {
    listen: { host, port: plan.port },
    http: { host, port: 0 },
    users: [{ name: demoRole.name, password: demoRole.password, admin: true }],
    log: { level: 'info' },
    ...(plan.redisPort === null ? {} : { redis: { url: redisUrl(plan.redisPort), ttl: '1h' } }),
    session_tokens: { key: plan.tokenKey },
    databases: {
      [demoRole.database]: {
        pool: { size: plan.poolSize, query_wait_timeout: '30s' },
        shards: plan.shards.map(({ id, primaryPort, replicaPorts }) => ({
          id,
          primary: url(primaryPort),
          replicas: replicaPorts.map((port) => url(port)),
        })),
        ...(rules === null
          ? {}
          : { sharding: { key: rules.key, key_type: rules.keyType, vnodes: rules.vnodeCount } }),
        reads: {
          target,
          consistency,
          max_lag: maxLagMs === null ? null : `${maxLagMs}ms`,
          ryw_wait: `${rywWaitMs}ms`,
        },
        failover: { wait: `${waitMs}ms`, probe: `${probeMs}ms` },
      },
    },
  }
}

function redisUrl(port: number): string {
  return `redis://${host}:${port}`
}
