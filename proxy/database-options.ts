// What a database is told: its shards, how clients are logged in to them, pools, reads, failover.
import type { ShardId } from '../core/ids.ts'
import type { LoginSecret } from '../pool/login-secret.ts'
import type { PoolLimits } from '../pool/pool-options.ts'
import type { ServerTlsMode, ServerTlsOptions } from '../pool/server-tls.ts'
import type { SessionLimits } from './session-limits.ts'
import type { ShardingRules } from '../router/schema.ts'

/** Who logs in; null: without a password, where servers trust us. */
export type Credentials = {
  readonly name: string
  readonly password: string | null
  /** What the user's logins have proven; absent: the password alone. */
  readonly secret?: LoginSecret | undefined
}

export type ShardOptions = {
  readonly id: ShardId
  readonly host: string
  readonly port: number
  readonly database: string
  /** What the primary's URL says of TLS; absent or null: nothing, so that `serverTls` counts. */
  readonly tlsMode?: ServerTlsMode | null
  /** Login there for everybody; null = the database's `serverUser`. */
  readonly login: Credentials | null
  readonly zone: string | null
  /** Streaming replicas of the primary; each may become the primary by a failover. */
  readonly replicas: readonly ReplicaOptions[]
  /** Patroni's REST APIs of this shard; may be empty. */
  readonly patroniUrls: readonly string[]
}

type ReplicaOptions = {
  readonly host: string
  readonly port: number
  readonly tlsMode?: ServerTlsMode | null
  readonly zone: string | null
  /** Share of the reads relative to the shard's other servers. */
  readonly weight: number
}

export type ReadTarget = 'auto' | 'primary' | 'replica'
export type Consistency = 'session' | 'eventual' | 'strong'

type ReadOptions = {
  readonly target: ReadTarget
  readonly consistency: Consistency
  /** A replica further behind is not read from; null = no limit. */
  readonly maxLagMs: number | null
  /** How long a read waits for a replica to catch up. */
  readonly rywWaitMs: number
  /** The primary takes its share of the reads too, not only what no replica can. */
  readonly includePrimary: boolean
  /** Zone of this proxy: servers of the same zone come first. */
  readonly zone: string | null
  /** Functions that may run on replicas although they are VOLATILE, or may not although they are not. */
  readonly functions: {
    readonly allow: ReadonlySet<string>
    readonly deny: ReadonlySet<string>
  }
}

type FailoverOptions = {
  /** How long statements wait for a primary, counted from when it was lost. */
  readonly waitMs: number
  /** Longest pause between two looks at a server. */
  readonly probeMs: number
}

/** What is asked of server connections besides who logs in. */
export type ServerOptions = {
  /** From dialling to the end of the login. */
  readonly connectTimeoutMs: number
  /** Server connections of all users together, per shard and role; 0: no limit. */
  readonly serverConnectionsMax: number
  /** Replication connections that are passed through. */
  readonly replicationConnectionsMax: number
  /** What every connection begins with, and RESET goes back to. */
  readonly serverSettings: ReadonlyMap<string, string>
  /** Cleans a server after a client in session mode. */
  readonly resetQuery: string
}

/** As PgBouncer has them where nothing is said. */
export const usualServers: ServerOptions = {
  connectTimeoutMs: 5_000,
  serverConnectionsMax: 0,
  replicationConnectionsMax: 5,
  serverSettings: new Map(),
  resetQuery: 'DISCARD ALL',
}

export type DatabaseOptions = SessionLimits & ServerOptions & DatabaseShape

type DatabaseShape = {
  readonly name: string
  /** Further names under which clients get it; absent: none. */
  readonly aliases?: readonly string[]
  /** The client's address is added to its application_name; absent: it is not. */
  readonly addsHost?: boolean
  /** Statements of one shard key value that run at once; 0 or absent: no limit. */
  readonly inFlightPerKeyMax?: number
  /** Home shard first. */
  readonly shards: readonly ShardOptions[]
  /** Login on the shards for every client; null = with the client's own name and password. */
  readonly serverUser: Credentials | null
  /** Login of the catalog's own connections. */
  readonly catalogUser: Credentials
  /** How they reach the servers; absent: without TLS. */
  readonly serverTls?: ServerTlsOptions
  readonly rules: ShardingRules | null
  /** Whether to count what statements cost by virtual node, for planning; absent: no. */
  readonly measureLoad?: boolean
  /** Mean time between two reports of that to the catalog; absent: 10 s. */
  readonly loadReportIntervalMs?: number
  readonly scatter: 'allow' | 'refuse'
  readonly crossShardWrites: 'two_phase' | 'refuse'
  readonly clientsMax: number
  readonly pin: 'allow' | 'refuse'
  /** Whether simple queries run as prepared statements where they can; absent: no. */
  readonly autoPrepare?: boolean
  readonly reads: ReadOptions
  readonly failover: FailoverOptions
  /** Second name of the database, under which it is read-only. */
  readonly readOnlyAlias: string | null
  readonly pool: PoolLimits
}

/** True when it must be known what functions do, though nothing is sharded: for reads on replicas and the fast lane. */
export function needsSchema({ shards, pool }: DatabaseOptions): boolean {
  return pool.laneServersMax > 0 || shards.some(({ replicas }) => replicas.length > 0)
}
