// The databases of a proxy by the names that clients ask for: started, swept and closed together, taken up and given up
// by a reload. One that was given up goes on for the clients that it still has.
import { hostname } from 'node:os'
import type { ProxyIdentity } from '../catalog/proxy-registry.ts'
import { startRecovery } from '../catalog/recovery.ts'
import { TokenStore } from '../catalog/token-store.ts'
import { PgError, pgError } from '../core/errors.ts'
import { anyName, autoOptions, type AutoUse, idleLongest } from './auto-databases.ts'
import { Database, type DatabaseContext } from './database.ts'
import type { DatabaseOptions } from './database-options.ts'
import { startLoadReports } from './load-reports.ts'

/** PostgreSQL's names are not longer. */
const nameBytesMax = 63

export type DatabasesContext = Omit<DatabaseContext, 'tokensFor'> & {
  /** Where session tokens are kept by session id; null: session ids are refused. */
  readonly redis: RedisOptions | null
  /** Bounds of what the entry `*` stands for. */
  readonly autos: { readonly databasesMax: number; readonly idleMs: number }
}

export type RedisOptions = {
  readonly url: string
  readonly ttlMs: number
  readonly timeoutMs: number
}

/** What a name stands for. */
export type Found = { readonly database: Database; readonly readOnly: boolean }

type Entry = {
  readonly database: Database
  /** Work in the background, for as long as the database is served. */
  readonly chores: { close(): Promise<void> }[]
  /** Null: it has an entry of its own in the configuration. */
  readonly auto: AutoUse | null
  readonly clients: number
}

const recoveryIntervalMs = 30_000
const recoveryAgeMs = 10_000
/** invalid_catalog_name */
const unknownDatabase = '3D000'

export class Databases {
  readonly #context: DatabasesContext
  readonly #entries = new Map<string, Entry>()
  readonly #givenUp = new Set<Entry>()
  readonly #opening = new Map<string, Promise<Entry>>()
  /** The entry `*`, for names that have none of their own. */
  #template: DatabaseOptions | null

  constructor(options: readonly DatabaseOptions[], context: DatabasesContext) {
    this.#context = context
    this.#template = templateAmong(options)
    for (const each of namedAmong(options)) this.#entries.set(each.name, this.#open(each))
  }

  /** Those that clients can ask for. */
  get all(): readonly Database[] {
    return [...this.#entries.values()].map(({ database }) => database)
  }

  /** The one there is, for who names none; null when there are several. */
  get sole(): Found | null {
    const [database, ...others] = this.all
    if (database === undefined || others.length > 0) return null
    return { database, readOnly: false }
  }

  get byName(): ReadonlyMap<string, Database> {
    return new Map(this.all.map((database) => [database.options.name, database]))
  }

  /** What the entry `*` makes of `name`; null without that entry. */
  autoOptions(name: string): DatabaseOptions | null {
    // A server would cut it, to the name of another database, which would have pools under each of them.
    if (Buffer.byteLength(name) > nameBytesMax) return null
    return this.#template === null ? null : autoOptions(this.#template, name)
  }

  /** The same as `find`; a database of the entry `*` is opened. @throws PgError 53300, 57P03 */
  async take(name: string): Promise<Found | null> {
    const found = this.find(name)
    const options = found === null ? this.autoOptions(name) : null
    if (options === null) return found
    // Clients that come all at once open it once.
    const opening = this.#opening.get(name) ?? this.#openAuto(options)
    this.#opening.set(name, opening)
    const { database } = await opening.finally(() => this.#opening.delete(name))
    return { database, readOnly: false }
  }

  /** One that the entry `*` stands for; null when it does not. @throws PgError 53300, 57P03 */
  async takeAuto(name: string): Promise<Database | null> {
    if (this.find(name) !== null || this.autoOptions(name) === null) return null
    return (await this.take(name))?.database ?? null
  }

  async #openAuto(options: DatabaseOptions): Promise<Entry> {
    const { autos, clock } = this.#context
    const all = [...this.#entries.values()].filter(({ auto }) => auto !== null)
    if (all.length + this.#opening.size >= autos.databasesMax) {
      const idle = idleLongest(all.filter((entry) => !isHeld(entry)))
      if (idle === undefined) throw pgError('tooManyDatabases')
      this.#giveUp(idle)
    }
    const entry = this.#open(options, { usedAtMs: clock.nowMs() })
    try {
      await this.#start(entry)
    } catch (error) {
      await close(entry)
      throw error
    }
    const named = this.#entries.get(options.name)
    if (named === undefined) this.#entries.set(options.name, entry)
    // A reload has given the name an entry of its own meanwhile.
    else this.#givenUp.add(entry)
    return named ?? entry
  }

  /** What a client is told whose login at `database` has failed: one that does not exist is forgotten. */
  meaningOf(database: Database, error: PgError): PgError {
    const { cause } = error
    if (!(cause instanceof PgError) || cause.sqlstate !== unknownDatabase) return error
    const { name } = database.options
    const entry = this.#entries.get(name)
    if (entry === undefined || entry.auto === null) return error
    if (entry.clients === 0) this.#giveUp(entry)
    return pgError('databaseUnknown', [name], { cause: error })
  }

  #giveUp(entry: Entry): void {
    this.#entries.delete(entry.database.options.name)
    this.#givenUp.add(entry)
  }

  /** By the name that the client gives: the database's own, an alias, or its read-only alias. */
  find(name: string): Found | null {
    const found = this.#entries.get(name)
    if (found !== undefined) return { database: found.database, readOnly: false }
    const other = this.all.find(({ options }) => options.aliases?.includes(name) === true)
    if (other !== undefined) return { database: other, readOnly: false }
    const aliased = this.all.find(({ options }) => options.readOnlyAlias === name)
    return aliased === undefined ? null : { database: aliased, readOnly: true }
  }

  /** @throws PgError 57P03, or the system's error */
  async start(): Promise<void> {
    for (const entry of this.#entries.values()) await this.#start(entry)
  }

  /**
   * Serves these from now on: new ones are started first, so that a failure changes nothing. Gives those that are not
   * served any more, which close when their last client has gone. @throws PgError 57P03, or the system's error
   */
  async adopt(wanted: readonly DatabaseOptions[]): Promise<readonly Database[]> {
    const template = templateAmong(wanted)
    const named = namedAmong(wanted)
    const names = new Set(named.map(({ name }) => name))
    // What the entry `*` has opened may be another server's by an entry of its own: it is opened anew.
    const fresh = named.filter(({ name }) => this.#entries.get(name)?.auto !== null)
    const opened = fresh.map((each) => this.#open(each))
    const isGone = ({ auto, database }: Entry) => {
      const isNamed = names.has(database.options.name)
      return auto === null ? !isNamed : isNamed || template === null
    }
    try {
      for (const entry of opened) await this.#start(entry)
      for (const each of named.filter((options) => !fresh.includes(options))) {
        await this.#entries.get(each.name)?.database.configure(each)
      }
      for (const { auto, database } of Array.from(this.#entries.values())) {
        const { name } = database.options
        if (auto === null || template === null || names.has(name)) continue
        await database.configure(autoOptions(template, name))
      }
    } catch (error) {
      await Promise.all(opened.map(close))
      throw error
    }
    this.#template = template
    const gone = [...this.#entries.values()].filter(isGone)
    for (const entry of gone) this.#giveUp(entry)
    for (const entry of opened) this.#entries.set(entry.database.options.name, entry)
    return gone.map(({ database }) => database)
  }

  /** Called on a timer. */
  sweep(): void {
    const now = this.#context.clock.nowMs()
    for (const entry of Array.from(this.#entries.values())) {
      entry.database.sweep()
      if (entry.auto === null) continue
      if (entry.clients > 0 || isHeld(entry)) entry.auto.usedAtMs = now
      else if (now - entry.auto.usedAtMs > this.#context.autos.idleMs) this.#giveUp(entry)
    }
    for (const entry of this.#givenUp) {
      entry.database.sweep()
      if (entry.database.clients > 0) continue
      this.#givenUp.delete(entry)
      const { log } = this.#context
      close(entry).catch((error: unknown) => log.warn({ error }, 'a database could not be closed'))
    }
  }

  async close(): Promise<void> {
    const all = [...this.#entries.values(), ...this.#givenUp]
    await Promise.all(all.flatMap(({ chores }) => chores.map((chore) => chore.close())))
    for (const { database } of all) await database.close()
  }

  #open(options: DatabaseOptions, auto: AutoUse | null = null): Entry {
    const tokensFor = (name: string) => this.#tokensFor(name, options)
    const database = new Database(options, { ...this.#context, tokensFor })
    return {
      database,
      chores: [],
      auto,
      get clients() {
        return database.clients
      },
    }
  }

  #tokensFor(name: string, { reads, failover }: DatabaseOptions): TokenStore | null {
    const { redis, clock, log, identity } = this.#context
    if (redis === null) return null
    return new TokenStore({
      ...redis,
      keyPrefix: `ringfence:${name}`,
      proxyId: identity.id,
      // A replica may be seen within max_lag for as long as nobody looks again.
      replicaLagMaxMs: reads.maxLagMs === null ? null : reads.maxLagMs + failover.probeMs,
      clock,
      log,
    })
  }

  async #start({ database, chores }: Entry): Promise<void> {
    await database.start()
    if (database.options.rules === null) return
    const { log } = this.#context
    // Read at every round: a failover changes a URL, a reload adds shards.
    const shards = () =>
      database.options.shards.map((shard) => ({ id: shard.id, url: database.urlOf(shard) }))
    chores.push(
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
    chores.push(startLoadReports({ meter, url, log, clock, random: Math.random, intervalMs }))
  }
}

/** An operator's order is in force that must not be forgotten. */
function isHeld({ database }: Entry): boolean {
  return database.control.disabled || database.serversOf(database.home).paused
}

function templateAmong(options: readonly DatabaseOptions[]): DatabaseOptions | null {
  return options.find(({ name }) => name === anyName) ?? null
}

function namedAmong(options: readonly DatabaseOptions[]): readonly DatabaseOptions[] {
  return options.filter(({ name }) => name !== anyName)
}

async function close({ database, chores }: Entry): Promise<void> {
  await Promise.all(chores.map((chore) => chore.close()))
  await database.close()
}

/** How a process is called in the catalog. */
export type ProcessName = {
  readonly host: string
  readonly port: number
  /** Tells processes apart that share the address, 0 for one that is alone. */
  readonly slot: number
  /** Of this process alone. */
  readonly randomId: string
  readonly version: string
}

/** The same after a restart; a port that the system chooses is no name. */
export function identityOf({ host, port, slot, randomId, version }: ProcessName): ProxyIdentity {
  const address = `${host}:${port}`
  const suffix = slot === 0 ? '' : `#${slot}`
  const id = port === 0 ? `${hostname()}:${randomId}` : `${hostname()}:${address}${suffix}`
  return { id, incarnation: randomId, address, version }
}
