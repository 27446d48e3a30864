// Users that are listed nowhere: a statement asks a server for them, as PgBouncer's auth_query does. The answer is kept
// for a moment, so that a storm of logins asks once for each name.
import type { Clock } from '../core/clock.ts'
import { type PgError, pgError, toPgError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { DialOptions } from '../pool/dial.ts'
import type { ServerTarget } from '../pool/server-connection.ts'
import type { FoundUser, UserLookup } from './accounts.ts'
import { LookupConnections } from './lookup-connections.ts'
import { Turns } from './turns.ts'

export type AuthQueryOptions = {
  /** Role that asks, and its password where servers want one. */
  readonly user: string
  readonly password: string | null
  /** Its rows are name, password and, as a third column, until when that is valid. */
  readonly sql: string
  /** Null: the one that the client logs in to. */
  readonly database: string | null
  readonly cacheMs: number
  readonly timeoutMs: number
  readonly connectionsMax: number
}

/** Where the users of a database are looked up. */
export type LookupPlace = {
  /** Name of the database, the same for all of its names. */
  readonly name: string
  /** Its home shard's primary as `login`; null while there is none. */
  readonly target: (login: {
    readonly user: string
    readonly password: string | null
  }) => ServerTarget | null
}

type AuthQueryContext = {
  readonly dial: DialOptions
  readonly clock: Clock
  readonly log: Log
  /** Null: there is no such database. */
  readonly placeOf: (database: string) => LookupPlace | null
}

type Answered = { readonly found: Promise<FoundUser | null>; readonly atMs: number }

const unknownDatabase = '3D000'
/** Answers that are kept; beyond them the oldest is forgotten. */
const answersMax = 10_000
/** Databases with connections of their own; beyond them the oldest are closed. */
const placesMax = 100
/** Connections that are opened at a time to a server: under an entry `*` whoever is nobody yet may name any number of databases. */
const dialsMax = 4
/** PostgreSQL's names are not longer; a longer one would be cut to that of somebody else. */
const nameBytesMax = 63

export class AuthQuery implements UserLookup {
  readonly #options: AuthQueryOptions
  readonly #context: AuthQueryContext
  readonly #connections = new Map<string, LookupConnections>()
  readonly #answers = new Map<string, Answered>()
  /** By server: those that are configured, so there are few. */
  readonly #dials = new Map<string, Turns>()

  constructor(options: AuthQueryOptions, context: AuthQueryContext) {
    this.#options = options
    this.#context = context
  }

  async find(user: string, database: string): Promise<FoundUser | null> {
    if (Buffer.byteLength(user) > nameBytesMax) return null
    const { nowMs } = this.#context.clock
    const place = this.#placeOf(database)
    const key = keyOf(user, place.name)
    const known = this.#answers.get(key)
    if (known !== undefined && nowMs() - known.atMs <= this.#options.cacheMs) return known.found
    // Those who come while it is under way wait for it, too; a failure is not kept.
    const found = this.#ask(user, place).catch((error: unknown) => {
      if (this.#answers.get(key)?.found === found) this.#answers.delete(key)
      throw this.#failure(user, error)
    })
    this.#answers.delete(key)
    this.#answers.set(key, { found, atMs: nowMs() })
    const [oldest] = this.#answers.keys()
    if (this.#answers.size > answersMax && oldest !== undefined) this.#answers.delete(oldest)
    return found
  }

  forget(user: string, database: string): void {
    this.#answers.delete(keyOf(user, this.#placeOf(database).name))
  }

  realmOf(database: string): string {
    return this.#placeOf(database).name
  }

  close(): void {
    for (const connections of this.#connections.values()) connections.close()
  }

  /** Who asks for a database that does not exist is asked for a password all the same. */
  #placeOf(database: string): LookupPlace {
    const { placeOf } = this.#context
    const place = placeOf(this.#options.database ?? database) ?? placeOf('')
    if (place === null) throw pgError('userLookupFailed')
    return place
  }

  async #ask(user: string, place: LookupPlace): Promise<FoundUser | null> {
    const rows = await this.#connectionsTo(place).ask(this.#options.sql, user)
    const [row, second] = rows
    if (row === undefined) return null
    if (second !== undefined) throw new Error('auth.query gives more than one row for a user')
    const [name, password, validUntil] = row
    if (name !== user) throw new Error('auth.query gives the row of another user')
    if (password === undefined) throw new Error('auth.query gives only one column')
    return { password: password ?? '', validUntilMs: validUntilMsOf(validUntil ?? null) }
  }

  #connectionsTo({ name, target }: LookupPlace): LookupConnections {
    const known = this.#connections.get(name)
    if (known !== undefined) return known
    const { user, password, connectionsMax, timeoutMs } = this.#options
    const { dial, clock } = this.#context
    const connections = new LookupConnections({
      target: () => target({ user, password }),
      dial,
      clock,
      connectionsMax,
      dialsTo: (server) => this.#dialsTo(server),
      timeoutMs,
    })
    this.#connections.set(name, connections)
    const [oldest] = this.#connections
    if (this.#connections.size > placesMax && oldest !== undefined) {
      this.#connections.delete(oldest[0])
      oldest[1].close()
    }
    return connections
  }

  #dialsTo({ host, port }: ServerTarget): Turns {
    const key = `${host}:${port}`
    const turns = this.#dials.get(key) ?? new Turns(dialsMax)
    this.#dials.set(key, turns)
    return turns
  }

  /** The client is nobody yet: only the log tells more. */
  #failure(user: string, error: unknown): PgError {
    const reason = toPgError(error)
    // Only an entry `*` has databases that its server does not.
    if (reason.sqlstate === unknownDatabase) return reason
    this.#context.log.warn({ user, reason: reason.message }, 'a user could not be looked up')
    return pgError('userLookupFailed', [], { cause: error })
  }
}

const keyOf = (user: string, place: string) => `${place}\0${user}`
const timestamp =
  /^(\d{4,})-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:([+-]\d\d)(?::?(\d\d))?)?)?( BC)?$/

/** PostgreSQL's text of a point in time (DateStyle ISO) as milliseconds since 1970. @throws Error for anything else */
export function validUntilMsOf(text: string | null): number {
  if (text === null || text === 'infinity') return Number.POSITIVE_INFINITY
  if (text === '-infinity') return Number.NEGATIVE_INFINITY
  const match = timestamp.exec(text)
  if (match === null) throw new Error('the third column of auth.query is not a point in time')
  if (match[9] !== undefined) return Number.NEGATIVE_INFINITY
  const [year = 0, month = 0, day = 0, hours = 0, minutes = 0, seconds = 0] = match
    .slice(1, 7)
    .map((part) => Number(part ?? 0))
  // Date.UTC takes two digits for years of the last century, and ends in the year 275760.
  if (year > 9999) return Number.POSITIVE_INFINITY
  const offsetHours = match[7] ?? '+00'
  const offset = Number(offsetHours) * 60 + Number(`${offsetHours[0]}${match[8] ?? '0'}`)
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  date.setUTCHours(hours, minutes - offset, seconds)
  return date.getTime()
}
