// One proxy: listens, logs clients in, hands them their sessions, stops in an orderly way.
import { randomBytes, randomUUID } from 'node:crypto'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { hostname } from 'node:os'
import type { ProxyIdentity } from '../catalog/proxy-registry.ts'
import { startRecovery } from '../catalog/recovery.ts'
import { TokenStore } from '../catalog/token-store.ts'
import { assert } from '../core/assert.ts'
import type { Clock } from '../core/clock.ts'
import { pgError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import { FlushTurn, Outbox } from '../pool/outbox.ts'
import { loadParser } from '../router/parser.ts'
import { writeBackendKeyData, writeParameterStatus, writeReadyForQuery } from '../wire/backend.ts'
import { Writer } from '../wire/writer.ts'
import { Accounts, type AuthRuleOptions, type UserOptions } from './accounts.ts'
import { AdminConsole } from './admin.ts'
import { adminViews } from './admin-views.ts'
import type { ProxyContext } from './context.ts'
import { Database } from './database.ts'
import type { DatabaseOptions, ShardOptions } from './database-options.ts'
import { type HttpPort, startHttp } from './http.ts'
import { startLoadReports } from './load-reports.ts'
import { type LoggedIn, Login } from './login.ts'
import type { ClientStartup } from './startup-parameters.ts'
import { createMetrics } from './metrics.ts'
import { Session } from './session.ts'
import { Sessions } from './sessions.ts'

export type ProxyOptions = {
  readonly version: string
  readonly listen: { readonly host: string; readonly port: number }
  /** Null: no HTTP port. */
  readonly http: { readonly host: string; readonly port: number } | null
  readonly users: readonly UserOptions[]
  readonly authRules: readonly AuthRuleOptions[]
  readonly databases: readonly DatabaseOptions[]
  /** Where session tokens are kept by session id; null: session ids are refused. */
  readonly redis: RedisOptions | null
  /** Secret that session tokens are signed with; null: one of this process alone. */
  readonly tokenKey: string | null
  readonly limits: {
    readonly frameBytesMax: number
    readonly frameBytesBeforeLoginMax: number
    readonly loginTimeoutMs: number
    readonly connectTimeoutMs: number
  }
  /**
   * Reads the configuration again and applies what can be; gives what it has done, and what needs a restart. Null: there is
   * none to read. @throws Error naming what is wrong with it; then nothing has changed
   */
  readonly reload?: (() => Promise<readonly string[]>) | null
  readonly clock: Clock
  readonly log: Log
}

type RedisOptions = {
  readonly url: string
  readonly ttlMs: number
  readonly timeoutMs: number
}

/** What receives a client's bytes: the login, then the session or the admin console. */
interface Receiver {
  received(chunk: Uint8Array): void
}

const adminDatabase = 'ringfence'
const readBufferBytes = 64 * 1024
const sweepMs = 1_000
const recoveryIntervalMs = 30_000
const recoveryAgeMs = 10_000

export class Proxy {
  readonly sessions = new Sessions()
  readonly #options: ProxyOptions
  readonly #context: ProxyContext
  readonly #accounts: Accounts
  readonly #databases = new Map<string, Database>()
  /** By the second names under which databases are read-only. */
  readonly #readOnly = new Map<string, Database>()
  readonly #turn = new FlushTurn()
  readonly #sockets = new Set<Socket>()
  readonly #server: Server
  readonly #recoveries: { close(): Promise<void> }[] = []
  readonly #randomId = randomUUID()
  #http: HttpPort | null = null
  #sweeper: NodeJS.Timeout | null = null
  #draining = false

  private constructor(options: ProxyOptions) {
    this.#options = options
    const { clock, log, limits } = options
    const metrics = createMetrics(() => this.#gauges())
    const tokenKey = options.tokenKey === null ? randomBytes(32) : Buffer.from(options.tokenKey)
    const [turn, writer, watching] = [this.#turn, new Writer(16 * 1024), { watch: null }]
    this.#context = { clock, log, metrics, tokenKey, turn, watching, writer }
    this.#accounts = new Accounts(options.users, options.authRules)
    const dial = {
      turn: this.#turn,
      readBuffer: Buffer.allocUnsafe(readBufferBytes),
      clock,
      connectTimeoutMs: limits.connectTimeoutMs,
      wholeBytesMax: limits.frameBytesMax,
    }
    for (const database of options.databases) {
      const tokensFor = (name: string) => this.#tokensFor(name, database)
      const identity = this.#identity
      const opened = new Database(database, { dial, clock, log, tokensFor, identity })
      this.#databases.set(database.name, opened)
      if (database.readOnlyAlias !== null) this.#readOnly.set(database.readOnlyAlias, opened)
    }
    this.#server = createServer({ noDelay: true, keepAlive: true }, (socket) =>
      this.#accept(socket),
    )
  }

  /** Reads topology and schema, then listens. @throws PgError 57P03, or the system's error */
  static async start(options: ProxyOptions): Promise<Proxy> {
    const proxy = new Proxy(options)
    try {
      await loadParser()
      for (const database of proxy.#databases.values()) await proxy.#startDatabase(database)
      await proxy.#listen()
      const { registry } = proxy.#context.metrics
      const notReady = () => proxy.#notReady()
      if (options.http !== null)
        proxy.#http = await startHttp({ ...options.http, registry, notReady })
      proxy.#sweeper = setInterval(() => proxy.#sweep(), sweepMs)
      proxy.#sweeper.unref()
      return proxy
    } catch (error) {
      await proxy.close()
      throw error
    }
  }

  /** Port that clients connect to. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Port of the HTTP server; null without one. */
  get httpPort(): number | null {
    return this.#http?.port ?? null
  }

  get databases(): ReadonlyMap<string, Database> {
    return this.#databases
  }

  /** All shards of `database` in their order: those of before, and new ones that it knows from now on. */
  async addShards(database: string, shards: readonly ShardOptions[]): Promise<void> {
    const found = this.#databases.get(database)
    assert(found !== undefined, `there is a database "${database}"`)
    await found.addShards(shards)
  }

  /** No new logins; sessions close as soon as their transaction ends, at the deadline in any case. */
  async drain(deadlineMs: number): Promise<void> {
    this.#draining = true
    this.#server.close()
    for (const session of this.sessions) session.drain()
    const until = this.#options.clock.nowMs() + deadlineMs
    while (this.sessions.size > 0 && this.#options.clock.nowMs() < until) {
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    await this.close()
  }

  /** Stops at once: clients are told, transactions are rolled back, servers closed. */
  async close(): Promise<void> {
    this.#draining = true
    this.#server.close()
    for (const session of this.sessions) session.fatal(pgError('shuttingDown'))
    for (const socket of this.#sockets) socket.destroySoon()
    if (this.#sweeper !== null) clearInterval(this.#sweeper)
    await this.#http?.close()
    await Promise.all(this.#recoveries.map((recovery) => recovery.close()))
    for (const database of this.#databases.values()) await database.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  #tokensFor(name: string, { reads, failover }: DatabaseOptions): TokenStore | null {
    const { redis, clock, log } = this.#options
    if (redis === null) return null
    return new TokenStore({
      ...redis,
      keyPrefix: `ringfence:${name}`,
      proxyId: this.#proxyId,
      // A replica may be seen within max_lag for as long as nobody looks again.
      replicaLagMaxMs: reads.maxLagMs === null ? null : reads.maxLagMs + failover.probeMs,
      clock,
      log,
    })
  }

  /** The same after a restart; a port that the system chooses is no name. */
  get #proxyId(): string {
    const { host, port } = this.#options.listen
    return port === 0 ? `${hostname()}:${this.#randomId}` : `${hostname()}:${host}:${port}`
  }

  get #identity(): ProxyIdentity {
    const { listen, version } = this.#options
    const address = `${listen.host}:${listen.port}`
    return { id: this.#proxyId, incarnation: this.#randomId, address, version }
  }

  async #startDatabase(database: Database): Promise<void> {
    await database.start()
    if (database.options.rules === null) return
    const { log } = this.#context
    // Read at every round: a failover changes a URL, a reload adds shards.
    const shards = () =>
      database.options.shards.map((shard) => ({ id: shard.id, url: database.urlOf(shard) }))
    this.#recoveries.push(
      startRecovery({
        get shards() {
          return shards()
        },
        log,
        ageMsMin: recoveryAgeMs,
        intervalMs: recoveryIntervalMs,
      }),
    )
    const { load: meter, clock, options } = database
    if (meter === null) return
    const url = () => database.homeUrl()
    const intervalMs = options.loadReportIntervalMs
    const reports = { meter, url, log, clock, random: Math.random, intervalMs }
    this.#recoveries.push(startLoadReports(reports))
  }

  #listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(this.#options.listen, () => {
        this.#server.off('error', reject)
        this.#server.on('error', (error) => this.#context.log.error({ error }, 'listener failed'))
        resolve()
      })
    })
  }

  #accept(socket: Socket): void {
    const outbox = new Outbox(socket, this.#turn)
    const { limits } = this.#options
    let receiver: Receiver | null = null
    let closed = (): void => {}
    const login = new Login(
      {
        socket,
        outbox,
        accounts: this.#accounts,
        address: socket.remoteAddress ?? '',
        frameBytesMax: limits.frameBytesBeforeLoginMax,
        loginTimeoutMs: limits.loginTimeoutMs,
        cancel: (pid, secret) => this.sessions.cancel(pid, secret),
        enter: async (entered) => {
          const next = await this.#enter(entered, socket, outbox)
          receiver = next.receiver
          closed = next.closed
          entered.framer.frameBytesMax = limits.frameBytesMax
          if (socket.destroyed) closed()
        },
      },
      this.#context,
    )
    receiver = login
    this.#sockets.add(socket)
    socket.on('data', (chunk) => receiver?.received(chunk))
    socket.on('end', () => socket.end())
    socket.on('error', (error) => this.#context.log.debug({ error }, 'client socket failed'))
    socket.on('close', () => {
      this.#sockets.delete(socket)
      login.finish()
      closed()
    })
    if (this.#draining) login.refuse(pgError('notAccepting'))
  }

  async #enter(
    { account, startup, framer }: LoggedIn,
    socket: Socket,
    outbox: Outbox,
  ): Promise<{ receiver: Receiver; closed: () => void }> {
    if (startup.database === adminDatabase) {
      if (!account.admin) throw pgError('adminOnly')
      const views = adminViews({
        version: this.#options.version,
        databases: [...this.#databases.values()],
        sessions: this.sessions,
        reload: this.#options.reload ?? null,
      })
      this.#welcome(
        outbox,
        new Map([['server_version', `18.0 (Ringfence ${this.#options.version})`]]),
      )
      const admin = new AdminConsole({ socket, outbox, framer, views })
      return { receiver: admin, closed: () => {} }
    }
    const readOnly = this.#readOnly.get(startup.database)
    const database = readOnly ?? this.#databases.get(startup.database)
    if (database === undefined) throw pgError('databaseUnknown', [startup.database])
    if (database.clients >= database.options.clientsMax) {
      throw pgError('tooManyClients', [startup.database])
    }
    database.clients += 1
    const leave = () => {
      database.clients -= 1
    }
    try {
      const client = { name: account.name, password: account.password }
      const asked = readOnly === undefined ? startup : withoutWriting(startup)
      const known = await database.reports.atLogin(asked, client)
      // A driver that looks for a standby (target_session_attrs) goes by these.
      const reported =
        readOnly === undefined ? known : new Map([...known, ['in_hot_standby', 'on']])
      if (this.#draining) throw pgError('notAccepting')
      const key = this.sessions.newKey(startup.minor)
      const session = new Session(
        {
          socket,
          framer,
          outbox,
          database,
          client,
          startup: asked.settings,
          readOnly: readOnly !== undefined,
          reported,
          closed: () => {
            this.sessions.remove(key.pid)
            leave()
          },
        },
        this.#context,
      )
      this.sessions.add(key, session)
      this.#context.metrics.clients.inc({ database: startup.database })
      this.#welcome(outbox, reported, key)
      return { receiver: session, closed: () => session.close() }
    } catch (error) {
      leave()
      throw error
    }
  }

  #welcome(
    outbox: Outbox,
    parameters: ReadonlyMap<string, string>,
    key?: { readonly pid: number; readonly secret: Uint8Array },
  ): void {
    const writer = new Writer(1024)
    for (const [name, value] of parameters) writeParameterStatus(writer, name, value)
    if (key !== undefined) writeBackendKeyData(writer, key.pid, key.secret)
    writeReadyForQuery(writer, 'I')
    outbox.append(writer.bytes())
  }

  #sweep(): void {
    const now = this.#options.clock.nowMs()
    for (const database of this.#databases.values()) database.sweep()
    for (const session of this.sessions) {
      const limit = session.state.database.options.idleTransactionTimeoutMs
      const since = session.idleInTransactionSinceMs
      if (limit > 0 && since !== null && now - since > limit) {
        session.fatal(pgError('idleTransactionTimeout'))
      }
    }
  }

  #notReady(): readonly string[] {
    if (this.#draining) return ['shutting down']
    return [...this.#databases.values()]
      .filter((database) => !database.ready)
      .map(({ options }) => `database "${options.name}" has no topology yet`)
  }

  #gauges(): ReturnType<Parameters<typeof createMetrics>[0]> {
    return [...this.#databases.values()].map((database) => ({
      database: database.options.name,
      clients: database.clients,
      shards: database.shards.map((shard) => {
        const { counts, failovers } = database.serversOf(shard)
        return { shard, ...database.stats(shard), counts, failovers }
      }),
      hosts: database.hasReplicas ? database.hosts() : [],
      moves: database.gate?.figures ?? null,
      redis: database.tokens?.state ?? null,
    }))
  }
}

/** Under a read-only name: so that a replica which has just been promoted does not write either. */
function withoutWriting(startup: ClientStartup): ClientStartup {
  const name = 'default_transaction_read_only'
  return { ...startup, settings: startup.settings.with(name, `SET ${name} = on`) }
}
