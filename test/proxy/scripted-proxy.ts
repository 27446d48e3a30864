// A proxy before a scripted server: one shard, no replicas, nothing that asks the server but clients.
import { systemClock } from '../../core/clock.ts'
import { usualLimits } from '../../pool/pool-options.ts'
import { usualServers } from '../../proxy/database-options.ts'
import { usualSessions } from '../../proxy/session-limits.ts'
import { shardId } from '../../core/ids.ts'
import { createLog } from '../../core/log.ts'
import { Proxy } from '../../proxy/proxy.ts'
import type { ScriptedServer } from '../support/scripted-server.ts'
import type { Place } from '../support/stack.ts'

export type ScriptedProxy = { readonly instance: Proxy; readonly place: Place }

/** Clients log in without a password. */
export async function startScriptedProxy(
  { port }: ScriptedServer,
  {
    failoverWaitMs,
    poolSize = 4,
    transactionTimeoutMs = 0,
  }: {
    readonly failoverWaitMs: number
    readonly poolSize?: number
    readonly transactionTimeoutMs?: number
  },
): Promise<ScriptedProxy> {
  const login = { name: 'app', password: null }
  const instance = await Proxy.start({
    version: 'test',
    listen: { host: '127.0.0.1', port: 0 },
    http: null,
    users: [{ name: login.name, secret: { kind: 'password', password: 'app' }, admin: true }],
    authRules: [{ database: null, user: null, address: null, method: 'scram' }],
    databases: [
      {
        name: 'app',
        shards: [
          {
            id: shardId('s1'),
            host: '127.0.0.1',
            port,
            database: 'app',
            login,
            zone: null,
            replicas: [],
            patroniUrls: [],
          },
        ],
        serverUser: login,
        catalogUser: login,
        rules: null,
        scatter: 'allow',
        crossShardWrites: 'two_phase',
        clientsMax: 100,
        pin: 'allow',
        ...usualSessions,
        transactionTimeoutMs,
        ...usualServers,
        reads: {
          target: 'auto',
          consistency: 'session',
          maxLagMs: 1_000,
          rywWaitMs: 50,
          includePrimary: false,
          zone: null,
          functions: { allow: new Set(), deny: new Set() },
        },
        failover: { waitMs: failoverWaitMs, probeMs: 1_000 },
        readOnlyAlias: null,
        pool: {
          ...usualLimits,
          size: poolSize,
          waitersMax: 100,
          queryWaitTimeoutMs: 5_000,
          serverLifetimeMs: 3_600_000,
          serverIdleTimeoutMs: 600_000,
        },
      },
    ],
    redis: null,
    tokenKey: null,
    limits: {
      frameBytesMax: 1024 * 1024,
      frameBytesBeforeLoginMax: 16 * 1024,
      loginTimeoutMs: 10_000,
      connectTimeoutMs: 2_000,
    },
    clock: systemClock,
    log: createLog('error'),
  })
  const place = { host: '127.0.0.1', port: instance.port, user: 'app', password: 'app' }
  return { instance, place: { ...place, database: 'app' } }
}
