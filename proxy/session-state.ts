// What a client's session is made of, apart from its socket: settings, prepared statements, portals, the
// transaction, the servers it holds. Changes are noted here when a server has confirmed them.
import { type PgError, pgError } from '../core/errors.ts'
import type { ShardId } from '../core/ids.ts'
import { LateMap } from '../core/late.ts'
import type { Pool } from '../pool/pool.ts'
import type { ServerConnection } from '../pool/server-connection.ts'
import type { SettingsProfile } from '../pool/settings-profile.ts'
import type { Plan, SessionCommand } from '../router/plan.ts'
import type { BoundParams, Prepared, RouterContext } from '../router/router.ts'
import type { Schema } from '../router/schema.ts'
import type { Topology } from '../router/topology.ts'
import type { Database } from './database.ts'
import type { Dialect } from './dialect.ts'
import type { Credentials } from './database-options.ts'
import type { Leases } from './leases.ts'
import type { Listening } from './notify/listening.ts'
import { LatestRide } from './latest-ride.ts'
import { ownNames, sessionIdsOf } from './own-settings.ts'
import { noteLook } from './session-look.ts'
import { SessionReads } from './session-reads.ts'
import type { ClientStatement, Effect, Portal, Reading } from './statements.ts'
import { localChange, type SettingMade, settingOf } from './setting-made.ts'
import { planInSnapshot } from './snapshot.ts'
import { readsOnly, refuseOnStandby, Transaction, undecided } from './transaction.ts'

type CachedContext = {
  readonly settings: SettingsProfile
  readonly version: number
  readonly ownSchema: Schema | null
  readonly context: RouterContext
}
type JournalEntry = {
  readonly name: string
  readonly before: ClientStatement | undefined
  /** Read by settings that are known only once it is confirmed. */
  readonly unsure: ClientStatement | null
}
type Single = Extract<Plan, { kind: 'single' }>
type Begin = Extract<SessionCommand, { kind: 'begin' }>

export type SessionStateOptions = {
  readonly database: Database
  readonly client: Credentials
  readonly startup: SettingsProfile
  /** Logged in by the name under which the database is read-only. */
  readonly readOnly: boolean
}

export class SessionState {
  readonly database: Database
  readonly client: Credentials
  readonly leases: Leases
  readonly dialect: Dialect
  readonly reads: SessionReads
  readonly riding = new LatestRide()
  /** Settings of the startup packet: what RESET goes back to. */
  readonly startup: SettingsProfile
  /** Settings in force outside a transaction. */
  settings: SettingsProfile
  readonly statements = new LateMap<string, ClientStatement>()
  readonly portals = new LateMap<string, Portal>()
  transaction: Transaction | null = null
  /** Channels of LISTEN; null until there was one. */
  listening: Listening | null = null
  /** What the latest statement went by. */
  routedBy: Topology | null = null
  /** Schema with the transaction's own DDL; null when it is the shared one. */
  ownSchema: Schema | null = null
  #context: CachedContext | null = null
  #journal: JournalEntry[] = []
  #confirmed = 0

  constructor(options: SessionStateOptions, leases: Leases, dialect: Dialect) {
    this.dialect = dialect
    const { database, client, startup, readOnly } = options
    this.database = database
    this.client = client
    this.startup = startup
    this.settings = startup
    this.leases = leases
    this.reads = new SessionReads(database, readOnly)
  }

  /** Pool of the shard's primary for this client. */
  poolOf(shard: ShardId): Pool {
    return this.database.poolFor(shard, this.client)
  }

  /** Settings in force now. */
  get effective(): SettingsProfile {
    return this.transaction?.effective ?? this.settings
  }

  /** What statements are planned against now; the same object until something of it changes. */
  context(): RouterContext {
    const settings = this.effective
    const { version } = this.database
    const known = this.#context
    if (known?.settings === settings && known.version === version) {
      if (known.ownSchema === this.ownSchema) return known.context
    }
    const { ownSchema } = this
    const context = this.database.contextFor(settings, this.client.name, ownSchema)
    this.#context = { settings, version, ownSchema, context }
    return context
  }

  /** How prepared statements are read now. */
  get reading(): Reading {
    return { context: this.context(), settings: this.effective }
  }

  plan(prepared: Prepared, index: number, params: BoundParams | null): Plan {
    const context = this.context()
    const { transaction, database } = this
    const plan = database.router.plan(prepared, index, params, context)
    const before = transaction?.routedBefore(context.topology)
    if (transaction === null || before === undefined || before.length === 0) return plan
    const planBy = (topology: Topology) =>
      database.router.plan(prepared, index, params, { ...context, topology })
    return planInSnapshot(plan, { transaction, before, now: context.topology, planBy })
  }

  /** False when the transaction has already written elsewhere and is not two-phase anyway. */
  mayWrite(plan: Single): boolean {
    const { transaction } = this
    if (!plan.writes || transaction === null || transaction.everywhere) return true
    return transaction.written.every((shard) => shard === plan.shard)
  }

  /** What a prepared statement means to the session as it is now. */
  preparedNow(statement: ClientStatement): Prepared {
    return statement.preparedIn(this.database, this.reading)
  }

  /**
   * What the transaction's failure is known to: its one server, which then answers everything as PostgreSQL does;
   * or only to us, who must see to it that nothing is committed.
   */
  get failure(): 'none' | 'server' | 'local' {
    const { transaction } = this
    if (transaction?.failed !== true) return 'none'
    const [only, ...others] = transaction.participants.keys()
    if (only === undefined || others.length > 0) return 'local'
    return this.leases.get(only)?.server.transactionStatus === 'E' ? 'server' : 'local'
  }

  /**
   * Server that may know portals and statements which we do not: those of SQL's DECLARE and PREPARE. The only one of
   * the transaction, else the only pinned one.
   */
  get knowingShard(): ShardId | null {
    const joined = [...(this.transaction?.participants.keys() ?? [])]
    if (joined.length > 0) return joined.length === 1 ? (joined[0] ?? null) : null
    const home = this.leases.get(this.database.home)
    if (home !== undefined && (home.pinned !== null || this.leases.keeps)) return home.server.shard
    return null
  }

  /** DDL ran in the transaction, and its outcome has not been read yet. */
  get needsOwnSchema(): boolean {
    if (this.database.options.rules === null || this.ownSchema !== null) return false
    return this.transaction?.schemaChanged === true && !this.transaction.failed
  }

  /** `unsure`: what is under way on its server may change the settings by which it is read. */
  define(name: string, statement: ClientStatement, unsure = false): void {
    const before = this.statements.get(name)
    this.#journal.push({ name, before, unsure: unsure ? statement : null })
    this.statements.set(name, statement)
  }

  undefine(name: string): void {
    this.#journal.push({ name, before: this.statements.get(name), unsure: null })
    this.statements.delete(name)
  }

  /** The oldest definition or removal that was not confirmed yet has taken effect. */
  confirmDefinition(): void {
    this.#journal[this.#confirmed]?.unsure?.readBy(this.effective)
    this.#confirmed += 1
  }

  /** Takes back what was not confirmed: the pipeline failed before it got there, or waits to be read again. */
  undoDefinitions(): void {
    const undone = this.#journal.splice(this.#confirmed).reverse()
    for (const { name, before } of undone) {
      if (before === undefined || name === '') this.statements.delete(name)
      else this.statements.set(name, before)
    }
    this.closeJournal()
  }

  /** The same for a pipeline that is run again from its beginning. */
  rewindDefinitions(): void {
    this.#confirmed = 0
    this.undoDefinitions()
  }

  closeJournal(): void {
    if (this.#journal.length > 0) this.#journal = []
    this.#confirmed = 0
  }

  /** A failure outside any server's knowledge: the transaction, if any, can only be rolled back. */
  fail(): void {
    if (this.transaction === null) return
    this.transaction.failed = true
    this.transaction.lost = null
  }

  /** A server of the transaction has died: its client is told with the next statement, if not already. */
  lose(error: PgError): void {
    const { transaction } = this
    if (transaction === null || transaction.failed) return
    transaction.failed = true
    transaction.lost = pgError('transactionLost', [error.message], { cause: error })
  }

  /** What the client is told of `error`, with which a statement has ended that is no COMMIT. */
  meaningOf(error: PgError): PgError {
    const { transaction } = this
    return transaction === null || transaction.implicit ? error : undecided(error)
  }

  /** Why the failed transaction takes no statement. */
  get aborted(): PgError {
    return this.transaction?.lost ?? pgError('transactionAborted')
  }

  /** Begins an explicit transaction, or makes an explicit one of the implicit one under way. */
  begin(sql: string, command: Begin): void {
    if (this.reads.readOnly) refuseOnStandby(command)
    if (this.transaction !== null) {
      this.transaction.implicit = false
      return
    }
    const readOnly = readsOnly(command, this.settings)
    this.transaction = new Transaction(sql, this.settings, false, readOnly)
  }

  /** COMMIT AND CHAIN: a transaction like the one before. */
  chain(before: Transaction): void {
    this.transaction = before.chained(this.settings)
  }

  /** The transaction is over on all servers. */
  endTransaction(outcome: 'committed' | 'rolledBack'): void {
    const { transaction } = this
    if (transaction === null) return
    this.reads.ids.owe(sessionIdsOf(transaction.effective.own(ownNames.sessionId)))
    this.reads.hasEnded = true
    for (const { server } of this.leases) this.reads.observed(server)
    for (const shard of transaction.participants.keys()) {
      const server = this.leases.get(shard)?.server
      if (server !== undefined && outcome === 'committed') server.settings = transaction.session
    }
    if (outcome === 'committed') this.settings = transaction.session
    if (outcome === 'committed' && transaction.schemaChanged) {
      this.database.invalidatePrepared()
      if (transaction.codeChanged) this.database.code.defined('')
    }
    if (transaction.schemaChanged) this.database.definitions += 1
    this.transaction = null
    this.listening?.ended(outcome === 'committed' ? transaction.listens : [])
    this.ownSchema = null
    this.portals.clear()
  }

  /** Gives back every server that no transaction and no pin needs. */
  settle(): void {
    if (this.transaction !== null) return
    if (this.leases.isEmpty) this.leases.freeSlot()
    for (const { server } of this.leases) {
      this.reads.observed(server)
      this.leases.settle(server.shard)
    }
    this.reads.ids.owesNothing()
  }

  /** The same for one shard, on which the command under way has no more to do. */
  settleEarly(shard: ShardId): void {
    const lease = this.leases.get(shard)
    const kept = this.transaction !== null || this.reads.ids.mustPublish(this.settings, this.leases)
    if (lease === undefined || kept) return
    this.reads.observed(lease.server)
    this.leases.settle(shard)
  }

  /** SET, RESET of one of the proxy's own settings; with `local` until the transaction ends. */
  setOwn(name: string, value: string | null, local: boolean): void {
    const { transaction } = this
    const back = value ?? this.startup.own(name) ?? null
    const change = (settings: SettingsProfile) => settings.withOwn(name, back)
    if (!this.leases.isEmpty)
      this.reads.ids.owe(sessionIdsOf(this.effective.own(ownNames.sessionId)))
    if (transaction === null) {
      if (!local) this.settings = change(this.settings)
      return
    }
    transaction.effective = change(transaction.effective)
    if (!local) transaction.session = change(transaction.session)
  }

  /** Notes what a statement that `server` has completed with `tag` leaves behind. */
  apply(effect: Effect, tag: string, server: ServerConnection): void {
    if (effect.pin !== null) {
      const lease = this.leases.get(server.shard)
      if (lease !== undefined) lease.pinned = effect.pin
    }
    noteLook(this, effect, server.shard, true)
    if (effect.ddl) {
      this.database.invalidatePrepared()
      const codeChanged = this.database.code.defined(effect.sql)
      if (this.transaction !== null) {
        this.transaction.schemaChanged = true
        this.transaction.codeChanged ||= codeChanged
      }
    }
    const { command, sql } = effect
    switch (command?.kind) {
      case 'begin':
        this.begin(sql, command)
        // What came along with it has gone by that already.
        this.transaction?.routedBy(this.routedBy ?? this.database.topology)
        this.#joins(server.shard, effect.writes)
        break
      case 'commit':
      case 'rollback':
        this.#ended(tag, command.chain, server)
        break
      case 'savepoint':
        this.transaction?.savepoint(command.name, sql)
        break
      case 'release':
        this.transaction?.release(command.name)
        break
      case 'rollbackTo':
        this.transaction?.rollbackTo(command.name)
        // Its DDL may be undone: what is left of it has to be read again.
        this.ownSchema = null
        if (this.transaction?.schemaChanged === true) this.database.definitions += 1
        break
      case 'set':
        this.set(sql, (settings) => settings.with(command.name, sql), server)
        break
      case 'setLocal':
        this.transaction?.setLocal(sql, localChange(sql))
        break
      case 'reset':
        this.set(sql, (settings) => settings.without(command.name), server)
        break
      case 'resetAll':
        this.set(sql, (settings) => settings.resetTo(this.startup), server)
        break
      case 'deallocate':
        if (command.name === null) this.statements.clear()
        if (command.name === null) server.prepared.clear()
        break
      case 'setConfig':
        for (const call of command.calls) this.#setConfig(settingOf(call, effect.params), server)
        break
      default:
    }
  }

  /** A setting has changed on `server`, and with it for the session. */
  set(
    sql: string,
    change: (settings: SettingsProfile) => SettingsProfile,
    server: ServerConnection,
  ): void {
    if (this.transaction !== null) return this.transaction.set(sql, change)
    this.settings = change(this.settings)
    server.settings = this.settings
  }

  /** A BEGIN too many takes nothing back. */
  #joins(shard: ShardId, writes: boolean): void {
    const participants = this.transaction?.participants
    participants?.set(shard, writes || participants.get(shard) === true)
  }

  #ended(tag: string, chain: boolean, server: ServerConnection): void {
    const before = this.transaction
    this.endTransaction(tag.startsWith('COMMIT') ? 'committed' : 'rolledBack')
    if (!chain || before === null) return
    this.chain(before)
    this.transaction?.participants.set(server.shard, false)
  }

  #setConfig(setting: SettingMade | null, server: ServerConnection): void {
    if (setting === null) return
    const { name, sql, local } = setting
    const change = (settings: SettingsProfile) => settings.with(name, sql)
    if (local) this.transaction?.setLocal(sql, change)
    else this.set(sql, change, server)
  }
}
