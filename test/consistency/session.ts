// One logical session: a handful of keys that it comes back to, operations on them, and a carrier that takes what it
// knows from connection to connection and from proxy to proxy.
import type { Outcome, Place } from '../support/history.ts'
import { LineError, type Line } from './line.ts'
import { registerSql } from './registers.ts'
import type { World } from './world.ts'

/**
 * How the session's knowledge travels: not at all (one connection), as a token that is read here and set there, or in
 * Redis, under an id that the connection or the statement names.
 */
export type Carrier = 'connection' | 'token' | 'id' | 'comment'

export type SessionOptions = {
  readonly world: World
  /** One connection per proxy, the worker's own. */
  readonly lines: readonly Line[]
  /** Off: replicas may answer with whatever they have, and nothing is carried. */
  readonly tokens: 'on' | 'off'
  readonly carrier: Carrier
  readonly session: number
  readonly id: string
  /** Number of the worker, for people. */
  readonly worker: number
}

/** The session cannot go on: what carried it is lost. */
export class CarrierLost extends Error {}

type Span = { readonly invokedMs: number; readonly returnedMs: number }

const favouritesCount = 4

export class Session {
  readonly #options: SessionOptions
  readonly #world: World
  readonly #favourites: readonly number[]
  #line: Line
  #lastWritten: number | null = null
  /** Reads of the transaction under way, until it ends; null outside of one. */
  #transactionReads: SeenRow[] | null = null

  constructor(options: SessionOptions) {
    this.#options = options
    this.#world = options.world
    this.#favourites = Array.from({ length: favouritesCount }, () => options.world.anyKey())
    this.#line = this.#anyLine()
  }

  /** Takes what a session that has ended knew. */
  async begin(): Promise<void> {
    await this.#settleOn(this.#line)
    const { tokens, carrier, session } = this.#options
    if (tokens === 'off' || carrier !== 'token' || this.#world.random.oneIn(2)) return
    const left = this.#world.takeLeft()
    if (left === null) return
    const invokedMs = performance.now()
    await this.#line.query(`SET ringfence.session_token = '${left.token}'`)
    const returnedMs = performance.now()
    this.#world.history.handOver({ from: left.session, to: session, invokedMs, returnedMs })
    this.#world.tally.handovers += 1
  }

  /** One operation or transaction. @throws CarrierLost, LineError */
  async step(): Promise<void> {
    const { random } = this.#world
    if (this.#options.carrier !== 'connection' && random.oneIn(5)) await this.#move()
    try {
      await this.#operation(random.below(100))
    } catch (error) {
      // A session that cannot even roll back has lost its connection.
      if (this.#line.open) await this.#line.query('ROLLBACK').catch(() => this.#line.drop())
      throw error
    }
  }

  async #operation(dice: number): Promise<void> {
    if (dice < 42) await this.#read(this.#key(), false)
    else if (dice < 52) await this.#readTwice(this.#key())
    else if (dice < 80) await this.#write(this.#key())
    else if (dice < 86) await this.#read(this.#key(), true)
    else if (dice < 90) await this.#readThree()
    else if (dice < 95) await this.#transaction(() => this.#readOnly())
    else await this.#transaction(() => this.#readWrite())
  }

  /** Leaves its token for another session. */
  async end(): Promise<void> {
    const { tokens, carrier, session } = this.#options
    if (tokens === 'off' || (carrier !== 'token' && carrier !== 'connection')) return
    this.#world.leave({ session, token: await this.#token() })
  }

  #key(): number {
    const { random } = this.#world
    if (this.#lastWritten !== null && random.oneIn(4)) return this.#lastWritten
    if (random.oneIn(5)) return this.#world.anyKey()
    return this.#favourites[random.below(favouritesCount)] ?? 0
  }

  #anyLine(): Line {
    const { lines } = this.#options
    const line = lines[this.#world.random.below(lines.length)]
    if (line === undefined) throw new Error('there is a line to every proxy')
    return line
  }

  /** Makes a connection that others have used the session's own. */
  async #settleOn(line: Line): Promise<void> {
    const { tokens, carrier, id } = this.#options
    await line.clear()
    if (tokens === 'off') await line.query("SET ringfence.consistency = 'eventual'")
    else if (carrier === 'id') await line.query(`SET ringfence.session_id = '${id}'`)
  }

  async #token(): Promise<string> {
    const { rows } = await this.#line.query('SHOW ringfence.session_token')
    return rows[0]?.[0] ?? ''
  }

  /** To another connection, most likely of another proxy. */
  async #move(): Promise<void> {
    const next = this.#anyLine()
    if (next === this.#line) return
    const { tokens, carrier } = this.#options
    if (tokens === 'on' && carrier === 'token') {
      const token = await this.#token()
      await this.#settleOn(next)
      await next.query(`SET ringfence.session_token = '${token}'`)
    } else await this.#settleOn(next)
    this.#line = next
  }

  /** With the comment that names the session, where that is how it is carried. */
  #text(sql: string): string {
    const { id } = this.#options
    return this.#commented ? `/* ringfence:session_id=${id} */ ${sql}` : sql
  }

  get #commented(): boolean {
    const { tokens, carrier } = this.#options
    return tokens === 'on' && carrier === 'comment'
  }

  /**
   * Another session that a read is for as well: it must respect what either of them knows. Written down under a session
   * of its own that has taken over both; what the read saw is then known to this session, the rest is not.
   */
  #company(): { readonly id: string; readonly session: number } | null {
    const { random, openIds, history } = this.#world
    const other = openIds[random.below(openIds.length || 1)]
    const { session } = this.#options
    if (!this.#commented || other === undefined || other.session === session || !random.oneIn(8)) {
      return null
    }
    const both = this.#world.nextSession()
    const nowMs = performance.now()
    for (const from of [session, other.session]) {
      history.handOver({ from, to: both, invokedMs: nowMs, returnedMs: nowMs })
    }
    return { id: other.id, session: both }
  }

  /**
   * A connection that was lost has lost what it knew, which only a carrier in Redis survives. Everything else the
   * session cannot rely on: it ends.
   */
  async #run(text: string, values: readonly unknown[] = [], name?: string) {
    if (!this.#line.open) {
      if (this.#options.carrier !== 'id' && this.#options.carrier !== 'comment') {
        throw new CarrierLost()
      }
      await this.#settleOn(this.#line)
    }
    const named = this.#options.carrier === 'comment' ? undefined : name
    return this.#line.query(this.#text(text), values, named)
  }

  async #read(key: number, onPrimary: boolean): Promise<void> {
    const { random } = this.#world
    const doing = onPrimary ? 'read on primary' : 'read'
    const company = onPrimary ? null : this.#company()
    const forBoth = company === null ? '' : `/* ringfence:session_id=${company.id} */ `
    const hint = onPrimary ? '/* ringfence:primary */ ' : forBoth
    const sql = `${hint}${registerSql.read}`
    const name = hint === '' && random.oneIn(2) ? 'read' : undefined
    const invokedMs = performance.now()
    const { rows } = await this.#named(doing, () => this.#run(sql, [key], name))
    const span = { invokedMs, returnedMs: performance.now() }
    const [version, value, replica] = rows[0] ?? []
    const place = isReplica(replica) ? 'replica' : 'primary'
    if (onPrimary && place === 'replica') this.#world.tally.misplaced += 1
    this.#saw(doing, key, [version, value], { ...span, place })
    if (company !== null) {
      const { history } = this.#world
      const seen = { key, version: Number(version), value: Number(value), ...span } as const
      this.#note(
        history.add({ ...seen, session: company.session, kind: 'read', outcome: 'ok', place }),
        'read for two sessions',
      )
    }
  }

  /** What a replica has shown already, the primary has too. */
  async #readTwice(key: number): Promise<void> {
    await this.#read(key, false)
    await this.#read(key, true)
  }

  async #readThree(): Promise<void> {
    const keys = [this.#key(), this.#key(), this.#world.anyKey()]
    const invokedMs = performance.now()
    const { rows } = await this.#named('read three', () => this.#run(registerSql.readThree, keys))
    const span = { invokedMs, returnedMs: performance.now() }
    for (const [key, version, value] of rows) {
      this.#saw('read three', Number(key), [version, value], { ...span, place: 'unknown' })
    }
  }

  async #write(key: number): Promise<void> {
    const { world } = this.#options
    const value = world.nextAttempt()
    const name = world.random.oneIn(2) ? 'write' : undefined
    const invokedMs = performance.now()
    const ended = (version: number, outcome: Outcome) =>
      this.#wrote(key, value, version, outcome, { invokedMs, returnedMs: performance.now() })
    try {
      const told = await this.#named('write', () =>
        this.#run(registerSql.write, [key, value], name),
      )
      ended(versionIn(told), 'ok')
    } catch (error) {
      if (error instanceof LineError) ended(-1, error.outcome)
      throw error
    }
  }

  /** Several reads of one snapshot per shard; it is as old as the first of them. */
  async #readOnly(): Promise<void> {
    const first = this.#key()
    const { random } = this.#world
    const near = random.oneIn(2)
    const keys = [first, near ? this.#world.neighbour(first) : this.#key(), this.#key()]
    await this.#named('begin', () => this.#run('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY'))
    const invokedMs = performance.now()
    for (const key of keys) {
      const { rows } = await this.#named('read only', () => this.#inside(registerSql.read, [key]))
      const span = { invokedMs, returnedMs: performance.now() }
      const [version, value, replica] = rows[0] ?? []
      // The snapshot of a primary may be older than the question.
      const place = isReplica(replica) ? 'replica' : 'unknown'
      this.#saw('read only', key, [version, value], { ...span, place })
    }
    await this.#named('end', () => this.#inside('COMMIT'))
  }

  /** Two writes to one shard that are both done or both not, and a read of any shard between them. */
  async #readWrite(): Promise<void> {
    const { world } = this.#options
    const one = this.#key()
    // Everybody locks in the same order.
    const keys = [...new Set([one, world.neighbour(one)])].sort((a, b) => a - b)
    const other = this.#key()
    await this.#named('begin', () => this.#run('BEGIN'))
    const writes: { key: number; value: number; version: number; invokedMs: number }[] = []
    let outcome: Outcome = 'failed'
    try {
      for (const key of keys) {
        const value = world.nextAttempt()
        const write = { key, value, version: -1, invokedMs: performance.now() }
        writes.push(write)
        write.version = versionIn(
          await this.#named('write in transaction', () =>
            this.#inside(registerSql.write, [key, value]),
          ),
        )
        if (!keys.includes(other)) await this.#readInside(other)
      }
      // Until COMMIT has been sent, nothing can have been committed.
      outcome = 'unknown'
      const { command } = await this.#named('commit', () => this.#inside('COMMIT'))
      outcome = command === 'COMMIT' ? 'ok' : 'failed'
    } catch (error) {
      if (outcome === 'unknown' && error instanceof LineError) outcome = error.outcome
      throw error
    } finally {
      const returnedMs = performance.now()
      for (const { key, value, version, invokedMs } of writes) {
        const told = outcome === 'ok' ? version : -1
        this.#wrote(key, value, told, outcome, { invokedMs, returnedMs })
      }
    }
  }

  async #readInside(key: number): Promise<void> {
    const invokedMs = performance.now()
    const { rows } = await this.#named('read in transaction', () =>
      this.#inside(registerSql.read, [key]),
    )
    const span = { invokedMs, returnedMs: performance.now() }
    const [version, value] = rows[0] ?? []
    this.#saw('read in transaction', key, [version, value], { ...span, place: 'primary' })
  }

  /** A statement of a transaction: without its connection there is nothing to do for it. */
  async #inside(text: string, values: readonly unknown[] = []) {
    if (!this.#line.open)
      throw new LineError('closed', 'the connection was lost in the transaction')
    return this.#line.query(this.#text(text), values)
  }

  async #named<T>(doing: string, ask: () => Promise<T>): Promise<T> {
    try {
      return await ask()
    } catch (error) {
      if (error instanceof LineError) this.#world.tally.failed(doing, error)
      throw error
    }
  }

  #saw(doing: string, key: number, [version, value]: Cells, at: Span & { place: Place }): void {
    this.#world.tally.reads[at.place] += 1
    const row = { doing, key, version: Number(version), value: Number(value), at }
    if (this.#transactionReads === null) this.#add(row, this.#options.session)
    else this.#transactionReads.push(row)
  }

  #add({ doing, key, version, value, at }: SeenRow, session: number): void {
    const seen = { session, key, version, value, ...at }
    this.#note(this.#world.history.add({ ...seen, kind: 'read', outcome: 'ok' }), doing)
  }

  /**
   * Runs a transaction. What it has read counts for other users of the session's id once it has ended: until then the
   * reads have not returned. Of one that was cut off nobody was told its position: its reads are nobody's.
   */
  async #transaction(run: () => Promise<void>): Promise<void> {
    const reads: SeenRow[] = []
    const { carrier, session } = this.#options
    const shared = carrier === 'id' || carrier === 'comment'
    if (shared) this.#transactionReads = reads
    let ended = false
    try {
      await run()
      ended = true
    } finally {
      this.#transactionReads = null
      const returnedMs = performance.now()
      for (const row of reads) {
        this.#add({ ...row, at: { ...row.at, returnedMs } }, ended ? session : -1)
      }
    }
  }

  #wrote(key: number, value: number, version: number, outcome: Outcome, span: Span): void {
    const { session } = this.#options
    this.#world.tally.writes += 1
    if (outcome === 'ok') this.#lastWritten = key
    const written = { session, key, version, value, outcome, ...span }
    this.#note(this.#world.history.add({ ...written, kind: 'write', place: 'primary' }), 'write')
  }

  #note(index: number, doing: string): void {
    const { carrier, lines, worker } = this.#options
    this.#world.note(
      index,
      `${doing}, ${carrier}, worker ${worker}, proxy ${lines.indexOf(this.#line)}`,
    )
  }
}

type SeenRow = {
  readonly doing: string
  readonly key: number
  readonly version: number
  readonly value: number
  readonly at: Span & { readonly place: Place }
}

/** Of a row, as text. */
type Cells = readonly (string | null | undefined)[]

function isReplica(cell: string | null | undefined): boolean {
  return cell === 'true' || cell === 't'
}

function versionIn({ rows }: { readonly rows: readonly (readonly (string | null)[])[] }): number {
  const version = rows[0]?.[0] ?? null
  if (version === null) throw new Error('a register is missing')
  return Number(version)
}
