// The settings as the program uses them: plain data, units in the names, URLs taken apart.
// Only cli/ reads this type; every module declares options of its own.
import type { FileSettings } from './settings.ts'
import type { Network } from './kinds.ts'
import type { PoolConfig, SharedLimits, UserPoolConfig } from './pool-config.ts'
import type { ServerAddress } from './server-url.ts'
import type { ListenConfig, TlsConfig } from './tls-config.ts'

/** Everything a proxy is told; settings that have no meaning yet are not in it. */
export type Config = {
  readonly listen: ListenConfig
  readonly tls: TlsConfig
  readonly http: { readonly host: string; readonly port: number }
  /** Processes that share the port; `auto`: as many as there are cores. */
  readonly workers: number | 'auto'
  readonly pidFile: string | null
  /** Whether a change of the file is applied by itself. */
  readonly watch: boolean
  /** How long the old process goes on with its clients after an upgrade. */
  readonly drainTimeoutMs: number
  readonly users: readonly ConfigUser[]
  /** First match wins, no match is a refusal; never empty. */
  readonly authRules: readonly AuthRule[]
  readonly auth: AuthConfig
  /** By user name: what differs from the databases' pools. */
  readonly userPools: ReadonlyMap<string, UserPoolConfig>
  readonly sharedLimits: SharedLimits
  /** Zone this proxy runs in. */
  readonly zone: string | null
  readonly redis: {
    readonly url: string
    readonly ttlMs: number
    readonly timeoutMs: number
  } | null
  /** Null: a random one per process. */
  readonly tokenKey: string | null
  /** At least one, in the order of the file. */
  readonly databases: readonly DatabaseConfig[]
  readonly limits: {
    readonly frameBytesMax: number
    readonly frameBytesBeforeLoginMax: number
    readonly loginTimeoutMs: number
    /** Clients that may be logging in at once. */
    readonly loginsMax: number
    /** Statements that may wait per pool. */
    readonly queueMax: number
  }
  readonly log: { readonly level: FileSettings['log']['level'] }
  readonly observation: ObservationConfig
  /** Who may use the admin console besides users that say so themselves. */
  readonly consoleUsers: { readonly admins: readonly string[]; readonly stats: readonly string[] }
}

/** What is told of clients and statements. */
type ObservationConfig = {
  /** Null: no statement is slow. */
  readonly slowStatementMs: number | null
  readonly logsConnections: boolean
  readonly logsDisconnections: boolean
  readonly logsErrors: boolean
  readonly statsPeriodMs: number
  /** Null: nothing is traced. */
  readonly trace: { readonly url: string; readonly sample: number } | null
}

/** A client's name and how it proves it. */
export type ConfigUser = {
  readonly name: string
  readonly secret:
    | { readonly kind: 'password'; readonly password: string }
    /** As in pg_authid.rolpassword: `SCRAM-SHA-256$…` or `md5…`. */
    | { readonly kind: 'verifier'; readonly verifier: string }
  readonly admin: boolean
}

/** `scram` and `md5` as in pg_hba.conf; `plain` is its `password`. */
type AuthMethod = 'trust' | 'any' | 'scram' | 'md5' | 'plain' | 'cert' | 'reject'

/** Which clients it is for, null standing for `all`, and how they log in. */
export type AuthRule = {
  readonly type: 'all' | 'local' | 'host' | 'hostssl' | 'hostnossl'
  readonly database:
    | readonly (string | { readonly special: 'all' | 'sameuser' | 'replication' })[]
    | null
  readonly user: readonly string[] | null
  readonly address: Network | null
  readonly method: AuthMethod
  readonly map: string | null
}

/** Users besides those of the file, and what failed logins cost. */
type AuthConfig = {
  /** Absolute, like `file`; null: `authRules` hold. */
  readonly hbaFile: string | null
  readonly file: string | null
  readonly userMap: readonly {
    readonly map: string
    readonly certificate: string
    readonly user: string
  }[]
  readonly query: {
    readonly user: string
    readonly password: string | null
    readonly sql: string
    /** Null: the one that the client logs in to. */
    readonly database: string | null
    readonly cacheMs: number
    readonly timeoutMs: number
    readonly connectionsMax: number
  } | null
  readonly failures: {
    /** 0: no login is put off. */
    readonly max: number
    readonly windowMs: number
    readonly delayMs: number
    readonly delayMsMax: number
  }
}

/** Measuring load, and moves unasked. */
type RebalanceConfig = {
  readonly measure: boolean
  readonly auto: boolean
  readonly start: number
  readonly stop: number
  readonly lastingMs: number
  readonly intervalMs: number
  readonly loadMin: number
  readonly bytesMax: number | null
  readonly budgetMs: number
  readonly window: { readonly startMinute: number; readonly endMinute: number } | null
}

/** One name that clients connect to. */
export type DatabaseConfig = {
  readonly name: string
  /** Further names of the same database. */
  readonly aliases: readonly string[]
  readonly pool: PoolConfig
  /** What every server connection begins with. */
  readonly serverSettings: ReadonlyMap<string, string>
  readonly connectQuery: string | null
  /** Null: every client's own name and password are passed on, unless a shard's URL has a user. */
  readonly serverUser: { readonly name: string; readonly password: string | null } | null
  /** Login of the mover; null: the server user's. */
  readonly moverUser: { readonly name: string; readonly password: string | null } | null
  /** Home shard first. */
  readonly shards: readonly ShardConfig[]
  /** Null: one shard, everything passes through. */
  readonly sharding: ShardingConfig | null
  readonly reads: {
    readonly target: 'auto' | 'primary' | 'replica'
    readonly consistency: 'session' | 'eventual' | 'strong'
    /** Null: no limit. */
    readonly maxLagMs: number | null
    readonly rywWaitMs: number
    readonly includePrimary: boolean
    /** `name` or `schema.name`, lower case. */
    readonly functions: { readonly allow: readonly string[]; readonly deny: readonly string[] }
  }
  readonly rebalance: RebalanceConfig
  readonly failover: { readonly waitMs: number; readonly probeMs: number }
  readonly readOnlyAlias: string | null
}

/** A primary and its replicas. */
type ShardConfig = {
  readonly id: string
  readonly primary: ServerAddress
  readonly replicas: readonly ReplicaConfig[]
  /** Roots of Patroni's REST APIs, without a slash at the end. */
  readonly patroniUrls: readonly string[]
  /** Share of the virtual nodes. */
  readonly weight: number
  readonly zone: string | null
}

/** A server that follows the primary. */
type ReplicaConfig = {
  readonly address: ServerAddress
  readonly zone: string | null
  /** Share of the reads. */
  readonly weight: number
}

/** How rows are spread over the shards. */
export type ShardingConfig = {
  readonly key: string
  readonly keyType: 'bigint' | 'text' | 'uuid'
  readonly vnodeCount: number
  /** Keyed by `name` or `schema.name`. */
  readonly tables: ReadonlyMap<string, TableConfig>
  readonly scatterMode: 'allow' | 'refuse'
  readonly crossShardWrites: 'two_phase' | 'refuse'
}

/** A table that is not simply sharded by the common key. */
export type TableConfig = { readonly key: string } | { readonly placement: 'reference' | 'home' }
