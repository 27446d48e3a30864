// A client's transaction: the shards that have joined it, and what a shard that joins later must be told.
//
// BEGIN takes no server. The first statement opens the transaction on its shard; each further shard is sent
// BEGIN and the log: savepoints that are open and settings made since, in order. `implicit` is the
// transaction that PostgreSQL puts around a multi-statement string or a pipeline by itself.
import { type PgError, pgError } from '../core/errors.ts'
import type { ShardId } from '../core/ids.ts'
import { ServerError } from '../pool/exchange.ts'
import type { SettingsProfile } from '../pool/settings-profile.ts'
import type { SessionCommand } from '../router/plan.ts'
import { isOn, isSerializable } from '../router/setting-value.ts'
import type { Topology } from '../router/topology.ts'

type Saved = {
  readonly name: string
  readonly session: SettingsProfile
  readonly effective: SettingsProfile
  /** Of the shards that had joined. */
  readonly participants: ReadonlyMap<ShardId, boolean>
  readonly everywhere: boolean
  readonly listens: readonly ListenAction[]
  /** Index of the savepoint's own entry in the log. */
  readonly at: number
}

/** LISTEN or UNLISTEN, which counts from the commit on; `channel` null: all. */
export type ListenAction =
  | { readonly kind: 'listen'; readonly channel: string }
  | { readonly kind: 'unlisten'; readonly channel: string | null }

type Begin = Extract<SessionCommand, { kind: 'begin' }>

export class Transaction {
  readonly beginSql: string
  /** Turned into an explicit one by a BEGIN inside the string. */
  implicit: boolean
  /** A statement failed: nothing but ROLLBACK (TO) may follow. */
  failed = false
  /** A server died with it and its client has not been told yet. */
  lost: PgError | null = null
  /** Shards that have joined, in order; true once something was written there. */
  readonly participants = new Map<ShardId, boolean>()
  /** Written to all shards (DDL, reference table): it commits in two phases anyway. */
  everywhere = false
  /** DDL ran: the schema that others see is not this transaction's. */
  schemaChanged = false
  /** Some of it may be code that touches sessions, or run such code. */
  codeChanged = false
  /** Settings as they will be after COMMIT. */
  session: SettingsProfile
  /** Settings in force now, with SET LOCAL. */
  effective: SettingsProfile
  listens: readonly ListenAction[] = []
  #log: string[] = []
  #saved: Saved[] = []

  /** Declared READ ONLY, at an isolation that replicas have. */
  readonly readOnly: boolean
  /** Whether it reads on replicas; null until its first statement has decided. */
  onReplicas: boolean | null = null
  /**
   * Whether its statements go on seeing what was there when it began: at REPEATABLE READ and above
   * they do. `asked`: a statement depends on it, and its server is to say so.
   */
  keepsSnapshot: 'unknown' | 'asked' | 'yes' | 'no' = 'unknown'
  /** What shards were sent their first statements by. */
  readonly #routedBy: Topology[] = []

  constructor(beginSql: string, settings: SettingsProfile, implicit: boolean, readOnly = false) {
    this.beginSql = beginSql
    this.readOnly = readOnly
    this.session = settings
    this.effective = settings
    this.implicit = implicit
  }

  /** What AND CHAIN begins behind it; behind a failure PostgreSQL has forgotten how this one began. */
  chained(settings: SettingsProfile): Transaction {
    if (this.failed) return new Transaction('BEGIN', settings, false)
    return new Transaction(this.beginSql, settings, false, this.readOnly)
  }

  /** What opens the transaction on a shard that joins now. */
  get joinSql(): string {
    return [this.beginSql, ...this.#log].join('\n;')
  }

  /** Shards that something was written on. */
  get written(): readonly ShardId[] {
    return [...this.participants].filter(([, wrote]) => wrote).map(([shard]) => shard)
  }

  /**
   * A shard has joined by `topology`, or somebody was asked by it: snapshots of that time may be
   * kept from now on.
   */
  routedBy(topology: Topology): void {
    if (!this.#routedBy.includes(topology)) this.#routedBy.push(topology)
  }

  get hasRouted(): boolean {
    return this.#routedBy.length > 0
  }

  /** Topologies other than `now` that its snapshots may be of; none most of the time. */
  routedBefore(now: Topology): readonly Topology[] {
    const [first] = this.#routedBy
    if (first === undefined || (first === now && this.#routedBy.length === 1)) return none
    return this.#routedBy.filter((topology) => topology !== now)
  }

  savepoint(name: string, sql: string): void {
    const { session, effective, everywhere, listens } = this
    const participants = new Map(this.participants)
    const at = this.#log.length
    this.#saved.push({ name, session, effective, participants, everywhere, listens, at })
    this.#log.push(sql)
  }

  release(name: string): void {
    const at = this.#saved.findLastIndex((saved) => saved.name === name)
    if (at < 0) return
    const gone = new Set(this.#saved.splice(at).map((saved) => saved.at))
    this.#log = this.#log.map((sql, index) => (gone.has(index) ? '' : sql))
  }

  rollbackTo(name: string): void {
    const at = this.#saved.findLastIndex((saved) => saved.name === name)
    const saved = this.#saved[at]
    if (saved === undefined) return
    this.#saved.length = at + 1
    this.#log.length = saved.at + 1
    this.session = saved.session
    this.effective = saved.effective
    this.everywhere = saved.everywhere
    this.listens = saved.listens
    // What was written since is undone: such a shard has nothing to prepare.
    for (const shard of this.participants.keys()) {
      this.participants.set(shard, saved.participants.get(shard) ?? false)
    }
    this.failed = false
  }

  /** SET [SESSION] or RESET inside the transaction: kept if it commits. */
  set(sql: string, change: (settings: SettingsProfile) => SettingsProfile): void {
    this.session = change(this.session)
    this.effective = change(this.effective)
    this.#log.push(sql)
  }

  /** SET LOCAL, SET TRANSACTION, SET CONSTRAINTS: ends with the transaction. */
  setLocal(sql: string, change?: (settings: SettingsProfile) => SettingsProfile): void {
    if (change !== undefined) this.effective = change(this.effective)
    this.#log.push(sql)
  }
}

const none: readonly Topology[] = []

/** What a standby refuses at BEGIN, where only the proxy answers. @throws PgError 0A000 */
export function refuseOnStandby({ access, isolation }: Begin): void {
  if (isolation === 'serializable') throw pgError('notOnStandby', ['serializable mode'])
  if (access === 'read write') throw pgError('notOnStandby', ['read-write mode'])
}

/**
 * True for a transaction that may run on replicas: READ ONLY, and not SERIALIZABLE, which a standby
 * lacks.
 */
export function readsOnly({ access, isolation }: Begin, settings: SettingsProfile): boolean {
  const byDefault = settings.get('default_transaction_read_only')
  const readOnly =
    access === null ? byDefault !== undefined && isOn(byDefault) : access === 'read only'
  if (!readOnly) return false
  if (isolation !== null) return isolation !== 'serializable'
  return !isSerializable(settings.get('default_transaction_isolation'))
}

/** A server that is lost before COMMIT was sent leaves nothing in doubt: nothing is kept, and all may be sent again. */
export function undecided(error: PgError): PgError {
  if (error.sqlstate !== '08006' || error instanceof ServerError) return error
  return pgError('transactionLost', [error.message], { cause: error })
}
