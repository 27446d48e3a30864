// One proxy: listens, logs clients in, hands them their sessions, stops in an orderly way.
import { randomBytes, randomUUID } from 'node:crypto'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
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
import type { Database } from './database.ts'
import type { DatabaseOptions } from './database-options.ts'
import { Databases, identityOf, type RedisOptions } from './databases.ts'
import { type Fleet, OneProcess } from './fleet.ts'
import { type HttpOptions, type HttpPort, startHttp } from './http.ts'
import { type LoggedIn, Login } from './login.ts'
import type { ClientStartup } from './startup-parameters.ts'
import { createMetrics } from './metrics.ts'
import { Session } from './session.ts'
import { Sessions, slotOf } from './sessions.ts'

export type ProxyOptions = {
  readonly version: string
  readonly listen: { readonly host: string; readonly port: number }
  /** Null: no HTTP port. */
  readonly http: Pick<HttpOptions, 'host' | 'port' | 'inherited'> | null
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
  /** All processes that share the port; absent: this one is alone. */
  readonly fleet?: Fleet
  /** Tells this process from the others that share the port; absent: 0. */
  readonly slot?: number
  readonly clock: Clock
  readonly log: Log
}

/** What receives a client's bytes: the login, then the session or the admin console. */
interface Receiver {
  received(chunk: Uint8Array): void
}

const adminDatabase = 'ringfence'
const readBufferBytes = 64 * 1024
const sweepMs = 1_000

export class Proxy {
  readonly sessions: Sessions
  readonly #fleet: Fleet
  #options: ProxyOptions
  readonly #context: ProxyContext
  readonly #accounts: Accounts
  readonly #databases: Databases
  readonly #turn = new FlushTurn()
  readonly #sockets = new Set<Socket>()
  readonly #server: Server
  #http: HttpPort | null = null
  #sweeper: NodeJS.Timeout | null = null
  #draining = false

  private constructor(options: ProxyOptions) {
    this.#options = options
    const { clock, log, limits, slot = 0 } = options
    this.sessions = new Sessions(slot)
    this.#fleet = options.fleet ?? new OneProcess()
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
    const { version, listen, redis } = options
    const identity = identityOf({ ...listen, slot, randomId: randomUUID(), version })
    this.#databases = new Databases(options.databases, { dial, clock, log, identity, redis })
    this.#server = createServer({ noDelay: true, keepAlive: true }, (socket) =>
      this.#accept(socket),
    )
  }

  /** Reads topology and schema, then listens. @throws PgError 57P03, or the system's error */
  static async start(options: ProxyOptions): Promise<Proxy> {
    const proxy = new Proxy(options)
    try {
      await loadParser()
      await proxy.#databases.start()
      await proxy.#listen()
      const { registry } = proxy.#context.metrics
      const { contentType } = registry
      const http = {
        metrics: () => registry.metrics(),
        contentType,
        notReady: () => proxy.notReady,
      }
      if (options.http !== null) proxy.#http = await startHttp({ ...options.http, ...http })
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

  /** Those that clients can ask for. */
  get databases(): ReadonlyMap<string, Database> {
    return this.#databases.byName
  }

  /** What keeps it from serving; empty when it is ready. */
  get notReady(): readonly string[] {
    if (this.#draining) return ['shutting down']
    return this.#databases.all
      .filter((database) => !database.ready)
      .map(({ options }) => `database "${options.name}" has no topology yet`)
  }

  /**
   * Goes by these options from now on, as far as a running proxy can: users, rules, databases and what of them a reload
   * applies. @throws PgError 57P03, or the system's error of a new database; nothing has changed then
   */
  async configure(options: ProxyOptions): Promise<void> {
    const gone = new Set(await this.#databases.adopt(options.databases))
    this.#options = { ...this.#options, databases: options.databases }
    for (const session of this.sessions) if (gone.has(session.state.database)) session.drain()
  }

  /** What the client with this key does, here or in another process, is cancelled; resolves once that was delivered. */
  async cancel(pid: number, secret: Uint8Array): Promise<void> {
    if (slotOf(pid) === this.sessions.slot) await this.sessions.cancel(pid, secret)
    else await this.#fleet.cancel(pid, secret)
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
    await this.#databases.close()
    for (const socket of this.#sockets) socket.destroy()
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
        cancel: (pid, secret) => this.cancel(pid, secret),
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
        databases: this.#databases.all,
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
    const found = this.#databases.find(startup.database)
    if (found === null) throw pgError('databaseUnknown', [startup.database])
    const { database, readOnly } = found
    if (database.clients >= database.options.clientsMax) {
      throw pgError('tooManyClients', [startup.database])
    }
    database.clients += 1
    const leave = () => {
      database.clients -= 1
    }
    try {
      const client = { name: account.name, password: account.password }
      const asked = readOnly ? withoutWriting(startup) : startup
      const known = await database.reports.atLogin(asked, client)
      // A driver that looks for a standby (target_session_attrs) goes by these.
      const reported = readOnly ? new Map([...known, ['in_hot_standby', 'on']]) : known
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
          readOnly,
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
    this.#databases.sweep()
    for (const session of this.sessions) {
      const limit = session.state.database.options.idleTransactionTimeoutMs
      const since = session.idleInTransactionSinceMs
      if (limit > 0 && since !== null && now - since > limit) {
        session.fatal(pgError('idleTransactionTimeout'))
      }
    }
  }

  #gauges(): ReturnType<Parameters<typeof createMetrics>[0]> {
    return this.#databases.all.map((database) => ({
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
