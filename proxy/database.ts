// One database that clients connect to: its pools, its topology and schema, its plan cache. Sessions ask it
// where to go; it owns everything that outlives a session.
import { createHash } from 'node:crypto'
import { assert } from '../core/assert.ts'
import type { Clock } from '../core/clock.ts'
import { pgError } from '../core/errors.ts'
import { epoch, type ShardId } from '../core/ids.ts'
import type { ProxyIdentity } from '../catalog/proxy-registry.ts'
import type { Log } from '../core/log.ts'
import { type Ask, loadSchema } from '../catalog/schema-loader.ts'
import type { TokenStore } from '../catalog/token-store.ts'
import type { TopologyStore } from '../catalog/topology-store.ts'
import type { DialOptions } from '../pool/dial.ts'
import type { Pool } from '../pool/pool.ts'
import { Paces } from '../pool/pace.ts'
import { type PoolStats, sumOfStats } from '../pool/pool-stats.ts'
import { SettingsProfile } from '../pool/settings-profile.ts'
import { StatementCache } from '../pool/statement-cache.ts'
import { HiddenRows } from '../router/hidden-rows.ts'
import { Router, type RouterContext } from '../router/router.ts'
import type { Schema } from '../router/schema.ts'
import { restingTopology, type Topology } from '../router/topology.ts'
import { type Bulkhead, bulkheadOf } from './bulkhead.ts'
import { catalogUrl } from './catalog-url.ts'
import { CodeWatch } from './code-watch.ts'
import { ask } from '../pool/exchange.ts'
import { NotifyHub } from './notify/hub.ts'
import { leaseOnce } from '../pool/lease-once.ts'
import { LoginReports } from './login-reports.ts'
import { type LoadMeter, meterOf } from './load-meter.ts'
import { FenceWatch } from './fence-watch.ts'
import { type GatedSession, MoveGate } from './move-gate.ts'
import { type HostView, hostViews } from './host-views.ts'
import { SearchPaths } from './search-path.ts'
import { DatabaseControl } from './database-control.ts'
import type { ServerBudgets } from './server-budgets.ts'
import { topologyStoreOf } from './topology-following.ts'
import { ShardServers } from './shard-servers.ts'
import { Traffic } from './traffic.ts'
import { catalogPool } from './catalog-pool.ts'
import {
  type Credentials,
  type DatabaseOptions,
  needsSchema,
  type ShardOptions,
} from './database-options.ts'

export type DatabaseContext = {
  readonly dial: DialOptions
  /** Limits over several pools. */
  readonly budgets: ServerBudgets
  readonly clock: Clock
  readonly log: Log
  /** Where the positions of that database are kept by session id; null: nowhere. */
  readonly tokensFor: (database: string) => TokenStore | null
  /** This proxy on the catalog's list of proxies. */
  readonly identity: ProxyIdentity
}

const planCacheEntriesMax = 10_000
const statementCacheEntriesMax = 10_000
// A relation that is not there is looked for again, but not by every statement that names it.
const schemaRefreshPauseMs = 1_000
// Of a database that is not sharded: how often it is looked for functions that were changed elsewhere.
const schemaAgeMsMax = 60_000

export class Database {
  readonly router = new Router({ cacheEntriesMax: planCacheEntriesMax })
  readonly statements = new StatementCache(statementCacheEntriesMax)
  readonly hiddenRows = new HiddenRows()
  /** How fast its statements are. */
  readonly paces = new Paces()
  readonly clock: Clock
  /** What servers report of clients' settings. */
  readonly reports: LoginReports
  /** Positions by session id; null without Redis. */
  readonly tokens: TokenStore | null
  readonly #context: DatabaseContext
  #options: DatabaseOptions
  #servers: ReadonlyMap<ShardId, ShardServers>
  #store: TopologyStore | null = null
  #topology: Topology
  #schema: Schema | null = null
  #refreshing: Promise<void> | null = null
  #refreshedAtMs = Number.NEGATIVE_INFINITY
  #schemaDigest = ''
  #schemaStale = false
  readonly #searchPaths = new SearchPaths()
  readonly sessions = new Set<GatedSession>()
  /** What of its code may touch sessions. */
  readonly code: CodeWatch
  /** Listens for all clients that do. */
  readonly notify: NotifyHub
  /** Bounds statements by virtual node; null where that is not wanted. */
  readonly bulkhead: Bulkhead | null
  /** Holds what is on the move; null without sharding. */
  readonly gate: MoveGate | null
  /** Counts what statements cost by virtual node; null where that is not wanted. */
  readonly load: LoadMeter | null
  readonly #fences: FenceWatch
  /** What an operator does to it as a whole. */
  readonly control: DatabaseControl = new DatabaseControl(this)
  clients = 0
  readonly traffic: Traffic
  /** Counts DDL that came through this proxy. */
  definitions = 0
  /** Grows with every change of topology or schema. */
  version = 0

  constructor(options: DatabaseOptions, context: DatabaseContext) {
    this.#options = options
    this.clock = context.clock
    this.code = new CodeWatch(context.clock)
    const { clock } = context
    this.notify = new NotifyHub(context, () => this.#options.pool.queryWaitTimeoutMs)
    this.traffic = new Traffic(context.clock.nowMs())
    this.tokens = context.tokensFor(options.name)
    this.#context = context
    const sharded = options.rules !== null
    this.reports = new LoginReports((client) => this.#validatingPool(client), sharded, clock)
    const shards = options.shards.map((shard) => shard.id)
    this.#servers = new Map(
      options.shards.map((shard, at) => {
        const followed = at === 0 ? () => this.#homeMoved() : null
        return [shard.id, new ShardServers(shard, options, context, followed)]
      }),
    )
    this.#topology = restingTopology(epoch(0), shards, new Uint16Array(0))
    const { sessions } = this
    const onSeen = () => void this.#store?.beat()
    const limits = () => this.#options.pool
    this.bulkhead = bulkheadOf(options, clock)
    this.gate = options.rules === null ? null : new MoveGate({ clock, sessions, limits, onSeen })
    this.load = meterOf(options, clock)
    const urlOf = (id: ShardId) => this.#urlOfId(id)
    this.#fences = new FenceWatch({ urlOf, home: this.home, log: context.log })
  }

  /** As configured; a reload replaces them. */
  get options(): DatabaseOptions {
    return this.#options
  }

  /** Shards of the topology: those of the configuration that have joined. */
  get shards(): readonly ShardId[] {
    return this.#topology.shards
  }

  get home(): ShardId {
    const home = this.options.shards[0]
    if (home === undefined) throw pgError('internal', ['a database without shards'])
    return home.id
  }

  get topology(): Topology {
    return this.#topology
  }

  get pools(): readonly Pool[] {
    return [...this.#servers.values()].flatMap(({ pools }) => pools)
  }

  /** Servers of one shard. */
  serversOf(shard: ShardId): ShardServers {
    const servers = this.#servers.get(shard)
    assert(servers !== undefined, `shard "${shard}" is in the configuration`)
    return servers
  }

  /** True once statements can be planned: at once without sharding, else with topology and schema. */
  get ready(): boolean {
    return this.options.rules === null || (this.#store !== null && this.#schema !== null)
  }

  /** True when reads may go to replicas. */
  get hasReplicas(): boolean {
    return this.options.shards.some(({ replicas }) => replicas.length > 0)
  }

  /** Reads topology and schema and follows their changes; nothing to do for a database without sharding. */
  async start(): Promise<void> {
    const { rules } = this.options
    const { log } = this.#context
    await Promise.all([...this.#servers.values()].map((servers) => servers.start()))
    await this.tokens?.start()
    await this.serversOf(this.home).untilLed()
    if (rules === null) {
      // Not known, functions count as VOLATILE: reads go to the primary until the sweep has found out.
      if (this.hasReplicas) await this.refreshSchema('now').catch(() => false)
      return
    }
    const store = topologyStoreOf(this, this.#context)
    this.#topology = await store.start()
    this.#store = store
    this.gate?.adopt(this.#topology)
    store.onChange((topology) => {
      this.#topology = topology
      this.version += 1
      this.gate?.adopt(topology)
      log.info({ database: this.options.name, epoch: topology.epoch }, 'topology changed')
    })
    store.onSchemaChange(() => {
      this.invalidatePrepared()
      void this.refreshSchema('now')
    })
    await this.refreshSchema('now')
  }

  /** Goes by `wanted` from now on, which has every shard of before, home first; new ones wait for the topology. */
  async configure(wanted: DatabaseOptions): Promise<void> {
    assert(wanted.shards[0]?.id === this.home, 'the home shard stays')
    const options = { ...wanted, rules: this.#options.rules }
    const added: ShardServers[] = []
    const servers = options.shards.map((shard): [ShardId, ShardServers] => {
      const present = this.#servers.get(shard.id)
      if (present !== undefined) return [shard.id, present]
      const fresh = new ShardServers(shard, options, this.#context, null)
      added.push(fresh)
      return [shard.id, fresh]
    })
    assert(servers.length === this.#servers.size + added.length, 'every shard of before is there')
    await Promise.all(added.map((each) => each.start()))
    this.#servers = new Map(servers)
    this.#options = options
    for (const each of this.#servers.values()) each.configure(options)
    // A topology with one of them may be waiting.
    await this.#store?.beat()
  }

  #homeMoved(): void {
    this.#store?.reconnect('the primary has changed')
    this.notify.follow('the primary has changed')
  }

  async close(): Promise<void> {
    const error = pgError('notAccepting')
    this.notify.close()
    await Promise.all([...this.#servers.values()].map((servers) => servers.close(error)))
    await this.#store?.close()
    await this.tokens?.close()
  }

  /** URL of a shard's present primary for the catalog's own use; the configured one while there is none. */
  urlOf(shard: ShardOptions): string {
    const { host, port } = this.serversOf(shard.id).primaryAddress ?? shard
    return catalogUrl({ ...shard, host, port }, this.options)
  }

  #urlOfId(id: ShardId): string {
    const shard = this.options.shards.find((each) => each.id === id)
    if (shard === undefined) throw pgError('internal', [`no shard "${id}" in the configuration`])
    return this.urlOf(shard)
  }

  homeUrl(): string {
    return this.#urlOfId(this.home)
  }

  /** What the router may know for a client with `settings`; `schema` overrides the shared one. */
  contextFor(settings: SettingsProfile, user: string, schema?: Schema | null): RouterContext {
    const known = schema ?? this.#schema
    const login = (this.options.shards[0]?.login ?? this.options.serverUser)?.name ?? user
    const searchPath = this.#searchPaths.inForce(settings.get('search_path'), login, known)
    return {
      topology: this.#topology,
      schema: known,
      rules: this.options.rules,
      searchPath,
      replicaRules: this.options.reads.functions,
    }
  }

  /** Pool of `shard`'s primary for a client that logged in as `client`. */
  poolFor(shard: ShardId, client: Credentials): Pool {
    return this.serversOf(shard).primaryPool(client)
  }

  /** Servers of all shards as they are known now. */
  hosts(): readonly HostView[] {
    return [...this.#servers.values()].flatMap((servers) => hostViews(servers))
  }

  /** Statistics of all pools of one shard, or of all shards together. */
  stats(shard?: ShardId): PoolStats {
    return sumOfStats(shard === undefined ? this.pools : this.serversOf(shard).pools)
  }

  /** Lends no server of `shard`'s primary, or of any, until `resume`; resolves once all have come back. */
  async pause(shard: ShardId | null): Promise<void> {
    await Promise.all(this.#some(shard).map((servers) => servers.pause()))
    // Not before: a transaction that has to end may want to listen.
    if (this.serversOf(this.home).paused) this.notify.pause()
  }

  resume(shard: ShardId | null): void {
    for (const servers of this.#some(shard)) servers.resume()
    if (shard === null || shard === this.home) this.notify.resume()
  }

  #some(shard: ShardId | null): readonly ShardServers[] {
    return shard === null ? [...this.#servers.values()] : [this.serversOf(shard)]
  }

  sweep(): void {
    this.#followSchema()
    this.#fences.look(this.#topology, this.clock.nowMs())
    for (const servers of this.#servers.values()) servers.sweep()
    // Clients that wait for a switch would wait for logins too.
    for (const { from, to } of this.#topology.moves)
      this.serversOf(to).warmLike(this.serversOf(from))
  }

  /** Of the primary; while there is none, any replica knows settings as well, and who only reads can go on. */
  #validatingPool(client: Credentials): Pool {
    const servers = this.serversOf(this.home)
    const pool = servers.primaryPool(client)
    const [replica] = pool.isOut ? servers.readable() : []
    return replica === undefined ? pool : servers.replicaPool(replica, client)
  }

  /** DDL of this proxy was committed: plans, prepared statements and other proxies must not miss it. */
  async schemaChanged(): Promise<void> {
    this.invalidatePrepared()
    if (this.options.rules === null && !needsSchema(this.#options)) return
    await this.refreshSchema('now')
    await this.#store?.notifySchemaChanged()
  }

  /** Without sharding nobody tells of DDL elsewhere; what is out of date sends reads to the primary at worst. */
  #followSchema(): void {
    if (this.options.rules !== null || !needsSchema(this.#options)) return
    const ageMs = this.clock.nowMs() - this.#refreshedAtMs
    if (!this.#schemaStale && ageMs < schemaAgeMsMax) return
    this.#schemaStale = false
    void this.refreshSchema('now').catch(() => {
      this.#schemaStale = true
    })
  }

  /** DDL has run: columns of prepared statements may have changed. */
  invalidatePrepared(): void {
    this.definitions += 1
    this.#schemaStale = true
    for (const pool of this.pools) pool.invalidatePrepared()
  }

  /** Reads the schema again; with `rarely` at most once a second, because a client asks for it. */
  async refreshSchema(when: 'now' | 'rarely'): Promise<boolean> {
    const { clock, log } = this.#context
    if (when === 'rarely' && clock.nowMs() - this.#refreshedAtMs < schemaRefreshPauseMs)
      return false
    // A load under way may have begun before the change that is asked for: wait for it, then load. If it fails,
    // who asked for it is told.
    if (this.#refreshing !== null) await this.#refreshing.catch(() => undefined)
    this.#refreshing ??= this.#load().finally(() => {
      this.#refreshing = null
    })
    try {
      await this.#refreshing
      return true
    } catch (error) {
      if (this.#schema === null) throw error
      log.warn({ database: this.options.name, error }, 'schema could not be read again')
      return false
    }
  }

  /** Schema as `question` sees it, for instance inside a transaction with DDL. */
  loadSchemaBy(question: Ask): Promise<Schema> {
    return loadSchema(question, this.options.rules, this.options.catalogUser.name)
  }

  async #load(): Promise<void> {
    const pool = catalogPool(this)
    const server = await leaseOnce(pool, SettingsProfile.empty)
    try {
      const replay = SettingsProfile.empty.replayFrom(server.settings)
      if (replay !== '') await ask(server, replay)
      server.settings = SettingsProfile.empty
      const digest = createHash('sha256')
      const schema = await this.loadSchemaBy(async (sql) => {
        // Compiling these queries takes longer than running them.
        const { rows } = await ask(server, `SET LOCAL jit = off;${sql}`)
        digest.update(JSON.stringify(rows))
        return rows
      })
      this.#refreshedAtMs = this.clock.nowMs()
      // The same schema keeps its version, and with it the cached plans.
      const text = digest.digest('hex')
      if (text === this.#schemaDigest) return
      this.#schemaDigest = text
      this.#schema = schema
      this.version += 1
    } finally {
      pool.release(server)
    }
  }
}
