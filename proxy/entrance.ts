// The way from a login to a database: who is let in, and how many at once.
import { pgError } from '../core/errors.ts'
import type { Database } from './database.ts'
import type { Found } from './databases.ts'
import type { UserLimits } from './session-limits.ts'
import { type ClientStartup, startupSetting } from './startup-parameters.ts'

/** Client connections over all databases; 0: no limit. */
type ClientLimits = {
  readonly clientsMax: number
  readonly clientsPerUserMax: number
}

/** What holds for all databases together. */
export type SharedLimits = ClientLimits & {
  /** Server connections of one user; 0: no limit. */
  readonly serversPerUserMax: number
  /** What differs for users, by name. */
  readonly users: ReadonlyMap<string, UserLimits>
  /** Databases that the entry `*` stands for. */
  readonly autoDatabasesMax: number
  /** How long one of them is kept without clients. */
  readonly autoDatabaseIdleMs: number
}

/** Nobody is refused. */
export const unlimited: SharedLimits = {
  clientsMax: 0,
  clientsPerUserMax: 0,
  serversPerUserMax: 0,
  users: new Map(),
  autoDatabasesMax: 1_000,
  autoDatabaseIdleMs: 3_600_000,
}

export class Entrance {
  #limits: SharedLimits
  readonly #byUser = new Map<string, number>()
  #clients = 0

  constructor(limits: SharedLimits) {
    this.#limits = limits
  }

  /** Limits from now on; who is in stays. */
  adopt(limits: SharedLimits): void {
    this.#limits = limits
  }

  get limits(): SharedLimits {
    return this.#limits
  }

  /** Clients of all databases together. */
  get clients(): number {
    return this.#clients
  }

  clientsOf(user: string): number {
    return this.#byUser.get(user) ?? 0
  }

  /** Counts the client in, until it leaves. @throws PgError 53300, 57P03 */
  enter(database: Database, asked: string, user: string): void {
    if (database.control.disabled) throw pgError('databaseDisabled', [asked])
    const { clientsMax, clientsPerUserMax, users } = this.#limits
    if (clientsMax > 0 && this.#clients >= clientsMax) throw pgError('tooManyInAll')
    if (database.clients >= database.options.clientsMax) throw pgError('tooManyClients', [asked])
    const userMax = users.get(user)?.clientConnectionsMax ?? clientsPerUserMax
    if (userMax > 0 && this.clientsOf(user) >= userMax) throw pgError('tooManyOfUser', [user])
    this.#count(database, user, 1)
  }

  /** To be called once for each client that was counted in. */
  leave(database: Database, user: string): void {
    this.#count(database, user, -1)
  }

  #count(database: Database, user: string, change: number): void {
    database.clients += change
    this.#clients += change
    const left = this.clientsOf(user) + change
    if (left === 0) this.#byUser.delete(user)
    else this.#byUser.set(user, left)
  }
}

/** What a client begins with in a database, as that has it. `address`: the client's, with its port. */
export function startupIn(
  { database, readOnly }: Found,
  startup: ClientStartup,
  address: string,
): ClientStartup {
  let asked = startup
  if (readOnly) {
    // So that a replica which has just been promoted does not write either.
    const name = 'default_transaction_read_only'
    asked = { ...asked, settings: asked.settings.with(name, `SET ${name} = on`) }
  }
  return database.options.addsHost === true ? withHost(asked, address) : asked
}

/** As PgBouncer's application_name_add_host: `name - host:port`, in PostgreSQL's 63 bytes. */
function withHost(startup: ClientStartup, address: string): ClientStartup {
  const given = startup.applicationName ?? ''
  const name = `${given === '' ? 'app' : given} - ${address}`.slice(0, nameLengthMax)
  const settings = startup.settings.with(
    'application_name',
    startupSetting('application_name', name),
  )
  return { ...startup, settings, applicationName: name }
}

const nameLengthMax = 63
