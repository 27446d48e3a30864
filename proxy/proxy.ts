// One proxy: listens, logs clients in, hands them their sessions, stops in an orderly way.
import { randomBytes, randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import { hostname } from 'node:os'
import type { Clock } from '../core/clock.ts'
import { pgError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import { FlushTurn } from '../pool/outbox.ts'
import { loadParser } from '../router/parser.ts'
import { Writer } from '../wire/writer.ts'
import { AdminCommands } from './admin/commands.ts'
import {
  type AdminOptions,
  consoleParameters,
  isConsole,
  openConsole,
  ordersOf,
} from './admin/open.ts'
import type { AdminWorld } from './admin/world.ts'
import { ClientLink, type LinkHost, type Receiver } from './client-link.ts'
import { ClientSockets } from './client-socket.ts'
import type { ProxyContext } from './context.ts'
import type { Database } from './database.ts'
import type { DatabaseOptions } from './database-options.ts'
import { Databases, identityOf, type RedisOptions } from './databases.ts'
import { Entering } from './entering.ts'
import { Entrance, type SharedLimits, unlimited } from './entrance.ts'
import { type Fleet, OneProcess } from './fleet.ts'
import { type HttpOptions, type HttpPort, startHttp } from './http.ts'
import { Listener, type ListenOptions, type Way } from './listener.ts'
import type { LoggedIn } from './login.ts'
import { LoginPolicy, type LoginPolicyOptions } from './login-policy.ts'
import { lookupPlace } from './lookup-place.ts'
import { createMetrics, type MetricsSource } from './metrics.ts'
import { Observation, type ObservationOptions, silentObservation } from './observation.ts'
import { isPhysical } from './startup-parameters.ts'
import { welcome } from './welcome.ts'
import { Replications } from './replication.ts'
import { ServerBudgets } from './server-budgets.ts'
import { limitsOf, type SessionLimits } from './session-limits.ts'
import { SessionWatch } from './session-watch.ts'
import { Sessions, slotOf } from './sessions.ts'
import { Tls, type TlsOptions } from './tls.ts'

export type ProxyOptions = LoginPolicyOptions &
  AdminOptions & {
    readonly version: string
    readonly listen: ListenOptions
    /** Absent: no TLS. */
    readonly tls?: TlsOptions
    /** Null: no HTTP port. */
    readonly http: Pick<HttpOptions, 'host' | 'port' | 'inherited'> | null
    readonly databases: readonly DatabaseOptions[]
    /** What holds for all databases together; absent: no limits. */
    readonly shared?: SharedLimits
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
    /** Absent: nothing is told of clients and statements. */
    readonly observation?: ObservationOptions
    /** All processes that share the port; absent: this one is alone. */
    readonly fleet?: Fleet
    /** Tells this process from the others that share the port; absent: 0. */
    readonly slot?: number
    readonly clock: Clock
    readonly log: Log
  }

const readBufferBytes = 64 * 1024
const sweepMs = 1_000
// While the last clients are waited for.
const lookMs = 50

export class Proxy {
  readonly sessions: Sessions
  readonly #fleet: Fleet
  #options: ProxyOptions
  readonly #context: ProxyContext
  readonly #policy: LoginPolicy
  readonly #databases: Databases
  readonly #entrance: Entrance
  readonly #watch: SessionWatch
  readonly #turn = new FlushTurn()
  readonly #commands: AdminCommands
  readonly #links = new Set<ClientLink>()
  readonly #entering: Entering
  #host: LinkHost | null = null
  readonly #tls: Tls
  #sockets = ClientSockets.byEvents
  #listener: Listener | null = null
  #http: HttpPort | null = null
  #sweeper: NodeJS.Timeout | null = null
  #draining = false
  #drained: Promise<void> | null = null

  private constructor(options: ProxyOptions) {
    this.#options = options
    const { clock, log, limits, slot = 0 } = options
    this.sessions = new Sessions(slot)
    this.#fleet = options.fleet ?? new OneProcess()
    const metrics = createMetrics(this.#metricsSource())
    const tokenKey = options.tokenKey === null ? randomBytes(32) : Buffer.from(options.tokenKey)
    const told = { clock, log, version: options.version, instance: hostname() }
    const observation = new Observation(options.observation ?? silentObservation, told)
    const [turn, writer] = [this.#turn, new Writer(16 * 1024)]
    this.#context = { clock, log, metrics, tokenKey, turn, observation, writer }
    this.#tls = new Tls(options.tls, log)
    const dial = {
      turn: this.#turn,
      readBuffer: Buffer.allocUnsafe(readBufferBytes),
      clock,
      connectTimeoutMs: limits.connectTimeoutMs,
      wholeBytesMax: limits.frameBytesMax,
      tls: this.#tls.server,
    }
    const { version, listen, redis, databases, shared = unlimited } = options
    const host = [listen.host].flat().join(',')
    const identity = identityOf({ ...listen, host, slot, randomId: randomUUID(), version })
    const budgets = new ServerBudgets(clock, shared.serversPerUserMax, shared.users)
    const autos = { databasesMax: shared.autoDatabasesMax, idleMs: shared.autoDatabaseIdleMs }
    const context = { dial, clock, log, identity, redis, budgets, autos }
    this.#databases = new Databases(databases, context)
    this.#entrance = new Entrance(shared)
    this.#entering = new Entering({
      context: this.#context,
      entrance: this.#entrance,
      databases: this.#databases,
      sessions: this.sessions,
      replications: new Replications(dial),
      isDraining: () => this.#draining,
    })
    this.#watch = new SessionWatch({ clock, sessions: this.sessions, limits: () => this.#limits() })
    const placeOf = (name: string) => lookupPlace(this.#databases, name)
    this.#policy = new LoginPolicy(options, { dial, clock, log, placeOf })
    this.#commands = new AdminCommands(this.#world())
  }

  /** Reads topology and schema, then listens. @throws PgError 57P03, or the system's error */
  static async start(options: ProxyOptions): Promise<Proxy> {
    const proxy = new Proxy(options)
    try {
      await loadParser()
      await proxy.#policy.configure(options)
      await proxy.#databases.start()
      proxy.#sockets = await ClientSockets.open(readBufferBytes)
      const { registry } = proxy.#context.metrics
      const http = {
        metrics: () => registry.metrics(),
        contentType: registry.contentType,
        notReady: () => proxy.notReady,
      }
      if (options.http !== null) proxy.#http = await startHttp({ ...options.http, ...http })
      // Last: whoever waits for the start can give orders before the first client is let in.
      const accept = (socket: Socket, way: Way) => proxy.#accept(socket, way)
      proxy.#listener = await Listener.open(options.listen, accept, options.log)
      proxy.#sweeper = setInterval(() => proxy.#sweep(), sweepMs)
      proxy.#sweeper.unref()
      proxy.#watch.start()
      return proxy
    } catch (error) {
      await proxy.close()
      throw error
    }
  }

  /** Port that clients connect to. */
  get port(): number {
    return this.#listener?.port ?? 0
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
    if (this.#listener === null) return ['it does not listen yet']
    return this.#databases.all
      .filter((database) => !database.ready)
      .map(({ options }) => `database "${options.name}" has no topology yet`)
  }

  /**
   * Goes by these options from now on, as far as a running proxy can: users, rules, databases and what of them a reload
   * applies. @throws PgError 57P03, or the system's error of a new database; nothing has changed then
   */
  async configure(options: ProxyOptions): Promise<void> {
    const adoptTls = this.#tls.prepare(options.tls)
    const adoptPolicy = await this.#policy.prepare(options)
    const gone = new Set(await this.#databases.adopt(options.databases))
    adoptPolicy()
    adoptTls()
    this.#options = options
    this.#context.observation.configure(options.observation ?? silentObservation)
    for (const session of this.sessions) if (gone.has(session.state.database)) session.drain()
  }

  /** What the client with this key does, here or in another process, is cancelled; resolves once that was delivered. */
  async cancel(pid: number, secret: Uint8Array): Promise<void> {
    if (slotOf(pid) === this.sessions.slot) await this.sessions.cancel(pid, secret)
    else await this.#fleet.cancel(pid, secret)
  }

  /** Certificates that have changed on the disk are read now rather than at the next look. Never rejects. */
  lookAtCertificates(): Promise<void> {
    return this.#tls.look()
  }

  /** For a process that takes the place of this one. */
  get descriptors(): Listener['descriptors'] & { readonly http: number | null } {
    const { tcp, unix } = this.#listener?.descriptors ?? { tcp: [], unix: null }
    return { tcp, unix, http: this.#http?.descriptor ?? null }
  }

  /** The process before this one has ended or will: what it has left belongs to this one. */
  adoptSockets(): void {
    this.#listener?.adopt(this.#options.listen)
  }

  /** Counters, for who adds up those of several processes. */
  counters(): Promise<readonly object[]> {
    return this.#context.metrics.registry.getMetricsAsJSON()
  }

  /** Takes no new connections; who is there goes on for `deadlineMs` at most, then as with `drain`. */
  async retire(deadlineMs: number, drainMs: number): Promise<void> {
    this.#listener?.close()
    this.#tls.close()
    await this.#http?.close()
    const until = this.#options.clock.nowMs() + deadlineMs
    while (this.#links.size > 0 && this.#options.clock.nowMs() < until && !this.#draining) {
      await new Promise((resolve) => setTimeout(resolve, lookMs))
    }
    // Told to drain meanwhile, it waits for the end of that.
    if (!this.#draining || this.#drained !== null) await this.drain(drainMs)
  }

  /** No new logins; sessions close as soon as their transaction ends, at the deadline in any case. */
  drain(deadlineMs: number): Promise<void> {
    this.#drained ??= this.#drain(deadlineMs)
    return this.#drained
  }

  async #drain(deadlineMs: number): Promise<void> {
    this.#draining = true
    this.#listener?.close()
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
    this.#listener?.close()
    for (const session of this.sessions) session.fatal(pgError('shuttingDown'))
    for (const link of this.#links) link.end()
    if (this.#sweeper !== null) clearInterval(this.#sweeper)
    this.#watch.close()
    await this.#http?.close()
    this.#policy.close()
    await this.#databases.close()
    await this.#context.observation.close()
    for (const link of this.#links) link.destroy()
  }

  #accept(socket: Socket, way: Way): void {
    this.#host ??= this.#linkHost()
    const link = new ClientLink(socket, way, this.#host, this.#context)
    this.#links.add(link)
    this.#policy.admission.enter(link)
    if (this.#draining) link.refuse(pgError('notAccepting'))
  }

  #linkHost(): LinkHost {
    const { log } = this.#context
    const options = () => this.#options
    const admission = this.#policy.admission
    return {
      sockets: this.#sockets,
      turn: this.#turn,
      policy: this.#policy,
      clientTls: this.#tls.client,
      get limits() {
        return options().limits
      },
      cancel: (pid, secret) => this.cancel(pid, secret),
      enter: async (login, link) => {
        const receiver = await this.#enter(login)
        admission.leave(link)
        return receiver
      },
      closed: (link) => {
        this.#links.delete(link)
        admission.leave(link)
      },
      failed: (error) => log.debug({ error }, 'client socket failed'),
    }
  }

  async #enter(login: LoggedIn): Promise<Receiver> {
    const { account, startup, framer, transport } = login
    const { socket, outbox } = transport
    const named = this.#databases.find(startup.database)
    // By which rule a client replicates says nothing of whether it may use the console.
    if (named === null && isConsole(startup.database) && startup.replication.size === 0) {
      const { version, consoleUsers } = this.#options
      const client = { name: account.name, isAdmin: account.admin, socket, outbox, framer }
      const console = openConsole(startup.database, client, this.#commands, consoleUsers)
      welcome(outbox, consoleParameters(version))
      return console
    }
    const sole = isPhysical(startup) ? this.#databases.sole : null
    const found = named ?? sole ?? (await this.#databases.take(startup.database))
    if (found === null) throw pgError('databaseUnknown', [startup.database])
    return await this.#entering.enter(found, login)
  }

  #sweep(): void {
    this.#databases.sweep()
    this.#context.observation.sweep(() => this.#databases.all.map(({ traffic }) => traffic))
  }

  /** All that sessions can have. */
  *#limits(): Generator<SessionLimits> {
    for (const { options } of this.#databases.all) {
      yield options
      for (const user of this.#entrance.limits.users.values()) yield limitsOf(options, user)
    }
  }

  #metricsSource(): MetricsSource {
    return {
      databases: () => this.#databases.all,
      sessions: this.sessions,
      logins: () => this.#loginsNow,
      nowMs: this.#options.clock.nowMs,
      spans: () => this.#context.observation.spanCounts,
      workers: () => this.#fleet.size,
    }
  }

  get #loginsNow(): number {
    return this.#policy.admission.size
  }

  #world(): AdminWorld {
    const { version, clock } = this.#options
    return {
      version,
      clock,
      fleet: this.#fleet,
      databases: () => this.#databases.all,
      take: (name) => this.#databases.takeAuto(name),
      sessions: this.sessions,
      users: () => this.#options.users.map(({ name }) => name),
      shared: () => this.#entrance.limits,
      logins: () => this.#loginsNow,
      ...ordersOf(this.#options),
    }
  }
}
