// The topology that this proxy routes by: read from the catalog at start, followed from then on by NOTIFY and, for
// what a lost notification would miss, by polling the epoch. While the home shard is down the last one stays valid.
// States: without a connection a retry is pending (backoff); with one, a poll is; after close() neither.
import { assert } from '../core/assert.ts'
import { systemClock, type Clock, type Timer } from '../core/clock.ts'
import { pgError } from '../core/errors.ts'
import { epoch, type Epoch, type ShardId } from '../core/ids.ts'
import type { Log } from '../core/log.ts'
import type { Topology } from '../router/topology.ts'
import { CatalogError } from './catalog-error.ts'
import { openCatalogConnection, type CatalogConnection } from './connection.ts'
import { beat, type ProxyIdentity, registerProxy, unregisterProxy } from './proxy-registry.ts'
import { readEpoch, readTopology } from './topology-query.ts'

export type TopologyStoreOptions = {
  /** The home shard's primary. */
  readonly url: string
  /**
   * Of the configuration, home shard first: `Topology.shards` has the same order. Read every time: a reload adds some.
   */
  readonly shards: readonly ShardId[]
  readonly log: Log
  /** Between two looks at the epoch. */
  readonly pollMs: number
  readonly clock?: Clock
  /** Who routes by what is read here; absent: somebody who only looks. */
  readonly proxy?: {
    readonly identity: ProxyIdentity
    /** Newest epoch that all of the proxy's work is routed by. */
    readonly seen: () => Epoch
    /** The catalog knows that the proxy was alive at `sentMs`. */
    readonly beaten: (sentMs: number) => void
  }
}

/** Epoch that was in force after `sentMs`. */
type Heard = { readonly epoch: Epoch; readonly sentMs: number }

/** Takes a listener away again. */
export type Unsubscribe = () => void

const queryTimeoutMs = 5_000
const backoffMinMs = 100
const backoffMaxMs = 5_000

export class TopologyStore {
  readonly #options: TopologyStoreOptions
  readonly #clock: Clock
  readonly #topologyListeners = new Set<(topology: Topology) => void>()
  readonly #schemaListeners = new Set<() => void>()
  #topology: Topology | undefined
  #connection: CatalogConnection | undefined
  #timer: Timer | undefined
  /** Number of the newest attempt to connect. */
  #attempt = 0
  #backoffMs = backoffMinMs
  #closed = false
  /** A schema change that the other proxies have not been told of, for want of a connection. */
  #notifyOwed = false
  /** At most one refresh runs; a wish that comes meanwhile is for one more after it. */
  #refreshing = false
  #refreshAgain = false
  /** On the list of proxies; '' while it is not there. */
  #registeredAs = ''
  /** Why the newest topology was not taken over, as it was logged; '' when it was. */
  #refusal = ''

  constructor(options: TopologyStoreOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
  }

  /** Reads the catalog for the first time. @throws PgError 57P03 when there is none or it cannot be read. */
  async start(): Promise<Topology> {
    try {
      await this.#connect()
      return this.current
    } catch (cause) {
      await this.close()
      const detail = reasonOf(cause)
      const extra = cause instanceof CatalogError ? hintOf(cause) : {}
      const home = this.#options.shards[0] ?? ''
      throw pgError('catalogUnavailable', [home], { cause, detail, ...extra })
    }
  }

  /** The newest topology known; valid from start() on, also while the home shard is down. */
  get current(): Topology {
    assert(this.#topology !== undefined, 'the topology store was started')
    return this.#topology
  }

  /** Calls `listener` with every new topology. */
  onChange(listener: (topology: Topology) => void): Unsubscribe {
    this.#topologyListeners.add(listener)
    return () => this.#topologyListeners.delete(listener)
  }

  /** Calls `listener` when any proxy has changed the schema, or may have while we could not hear of it. */
  onSchemaChange(listener: () => void): Unsubscribe {
    this.#schemaListeners.add(listener)
    return () => this.#schemaListeners.delete(listener)
  }

  /** Tells every proxy, this one included, that the schema changed; now, or once the home shard is back. */
  async notifySchemaChanged(): Promise<void> {
    this.#notifyOwed = true
    await this.#payNotification()
  }

  /** Leaves a server that is the home shard's primary no more; `url` is read again. */
  reconnect(reason: string): void {
    const connection = this.#connection
    this.#backoffMs = 0
    if (connection !== undefined) this.#lost(connection, reason)
    else if (this.#topology !== undefined) this.#retryLater()
  }

  /** Closes the connection and stops all timers; harmless when repeated. */
  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    const connection = this.#connection
    this.#connection = undefined
    if (connection === undefined) return
    await this.#unregister(connection)
    await connection.end()
  }

  /** Tells at once what the proxy has understood, instead of with the next poll. */
  async beat(): Promise<void> {
    await this.#refresh()
  }

  async #unregister({ client }: CatalogConnection): Promise<void> {
    const { proxy, log } = this.#options
    if (proxy === undefined || this.#registeredAs === '') return
    try {
      await unregisterProxy(client, proxy.identity, this.#registeredAs)
    } catch (error) {
      log.warn({ reason: reasonOf(error) }, 'this proxy is still on the list of proxies')
    }
  }

  /** Only the newest attempt counts: one that began earlier may lead to a server that is the primary no more. */
  async #connect(): Promise<void> {
    this.#attempt += 1
    const attempt = this.#attempt
    const connection = await openCatalogConnection(this.#options.url, queryTimeoutMs)
    if (this.#closed || attempt !== this.#attempt) {
      connection.destroy()
      return
    }
    this.#connection = connection
    const { client } = connection
    client.on('end', () => this.#lost(connection, 'the server closed the connection'))
    client.on('notification', ({ channel }) => {
      if (channel === 'ringfence_schema') this.#tellSchema()
      else void this.#refresh('told')
    })
    try {
      await client.query('LISTEN ringfence_topology; LISTEN ringfence_schema')
      const now = await this.#epochNow(client)
      await this.#read(client)
      this.#renew(now)
    } catch (cause) {
      if (this.#connection === connection) this.#connection = undefined
      connection.destroy()
      throw cause
    }
    if (this.#connection !== connection) return
    this.#backoffMs = backoffMinMs
    this.#schedule(this.#options.pollMs, () => this.#poll())
  }

  async #poll(): Promise<void> {
    await this.#refresh()
    if (this.#connection !== undefined) this.#schedule(this.#options.pollMs, () => this.#poll())
  }

  async #reconnect(): Promise<void> {
    const attempt = this.#attempt + 1
    try {
      await this.#connect()
    } catch (error) {
      if (attempt !== this.#attempt) return
      this.#options.log.warn({ reason: reasonOf(error) }, 'the catalog cannot be read; will retry')
      this.#retryLater()
      return
    }
    if (attempt !== this.#attempt || this.#connection === undefined) return
    this.#options.log.info('the catalog can be read again')
    // Notifications were lost meanwhile.
    this.#tellSchema()
    await this.#payNotification()
  }

  /** `told`: the epoch is known to have changed. Clients wait at a switch, and a heartbeat is a commit: it comes later. */
  async #refresh(why: 'told' | 'due' = 'due'): Promise<void> {
    this.#refreshAgain = this.#refreshing
    const connection = this.#connection
    if (this.#refreshing || connection === undefined) return
    this.#refreshing = true
    const { client } = connection
    try {
      if (why === 'told') await this.#read(client)
      else {
        const now = await this.#epochNow(client)
        if (now.epoch !== this.#topology?.epoch) await this.#read(client)
        this.#renew(now)
      }
    } catch (error) {
      this.#lost(connection, reasonOf(error))
    } finally {
      this.#refreshing = false
    }
    if (this.#refreshAgain) await this.#refresh()
  }

  /**
   * A topology that cannot be understood, as one with a shard that the configuration lacks, is not taken over, and so never
   * acknowledged: routing goes on by the last one, and the next poll looks again.
   */
  async #read(client: CatalogConnection['client']): Promise<void> {
    try {
      this.#adopt(await readTopology(client, this.#options.shards))
    } catch (error) {
      if (!(error instanceof CatalogError) || this.#topology === undefined) throw error
      const { message: reason, hint } = error
      if (reason === this.#refusal) return
      this.#refusal = reason
      const { epoch: known } = this.#topology
      this.#options.log.error({ reason, hint, epoch: known }, 'routing by an older topology')
    }
  }

  /**
   * The proxy may go on with what is on the move only under a topology that is as new as its heartbeat: one that comes back
   * after a silence would let statements go where rows were before it.
   */
  #renew({ epoch: known, sentMs }: Heard): void {
    if (this.#topology !== undefined && this.#topology.epoch >= known) {
      this.#options.proxy?.beaten(sentMs)
    }
  }

  /** Epoch in force; a proxy says with the same question that it lives. */
  async #epochNow(client: CatalogConnection['client']): Promise<Heard> {
    const { proxy } = this.#options
    const sentMs = this.#clock.nowMs()
    if (proxy === undefined) return { epoch: await readEpoch(client), sentMs }
    const { identity, seen } = proxy
    const known =
      this.#registeredAs === '' ? null : await beat(client, identity, this.#registeredAs, seen())
    if (known !== null) return { epoch: known, sentMs }
    // Not on the list, or not any more: what was published meanwhile may not have waited for us.
    this.#registeredAs = await registerProxy(client, identity)
    const first = await beat(client, identity, this.#registeredAs, epoch(0))
    if (first === null) throw new CatalogError('the catalog is empty')
    return { epoch: first, sentMs }
  }

  #adopt(topology: Topology): void {
    this.#refusal = ''
    if (this.#topology?.epoch === topology.epoch) return
    const first = this.#topology === undefined
    this.#topology = topology
    if (!first) this.#tell(this.#topologyListeners, topology)
  }

  #tellSchema(): void {
    this.#tell(this.#schemaListeners, undefined)
  }

  #tell<T>(listeners: ReadonlySet<(value: T) => void>, value: T): void {
    for (const listener of listeners) {
      try {
        listener(value)
      } catch (error) {
        this.#options.log.error({ error }, 'a listener of the topology failed')
      }
    }
  }

  async #payNotification(): Promise<void> {
    const connection = this.#connection
    if (!this.#notifyOwed || connection === undefined) return
    this.#notifyOwed = false
    try {
      await connection.client.query('NOTIFY ringfence_schema')
    } catch (error) {
      this.#notifyOwed = true
      this.#lost(connection, reasonOf(error))
    }
  }

  #lost(connection: CatalogConnection, reason: string): void {
    connection.destroy()
    if (connection !== this.#connection) return
    this.#connection = undefined
    this.#options.log.warn({ reason }, 'connection to the catalog lost; routing by what is known')
    this.#retryLater()
  }

  #retryLater(): void {
    this.#schedule(this.#backoffMs, () => this.#reconnect())
    this.#backoffMs = Math.min(backoffMaxMs, Math.max(backoffMinMs, this.#backoffMs * 2))
  }

  /** One timer at a time: a poll while connected, a retry while not. */
  #schedule(delayMs: number, run: () => Promise<void>): void {
    if (this.#closed) return
    this.#timer?.cancel()
    this.#timer = this.#clock.after(delayMs, () => void run())
  }
}

/** Commands show a hint, but no detail. */
function hintOf({ message, hint }: CatalogError): { readonly hint?: string } {
  return hint === undefined ? {} : { hint: `It says that ${message}. ${hint}` }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
