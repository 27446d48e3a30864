// What every client of these tests does, written once as a contract. A program is run twice, through
// Ringfence and against one PostgreSQL; what its steps return must be equal.
import type { Json } from './observed.ts'

/** Where a client connects: the proxy, or the plain PostgreSQL that is the oracle. */
export type Target = {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
  readonly database: string
}

/** The steps, in the order in which they run, and the behaviour that each of them shows. */
export const stepMeanings = [
  ['migrate', 'its migrations create sharded, reference and home tables'],
  ['migrateAgain', 'a second run finds the migrations applied'],
  ['create', 'rows are created and given back'],
  ['change', 'rows are updated, upserted, deleted and given back'],
  ['commit', 'a committed transaction is seen by all'],
  ['rollback', 'a transaction that is rolled back leaves nothing'],
  ['fail', 'an error inside a transaction has the SQLSTATE and leaves nothing'],
  ['savepoint', 'a savepoint takes back only what came after it'],
  ['relate', 'rows of one tenant come with their relations'],
  ['types', 'values of many types come back as they were sent'],
  ['prepared', 'one statement serves many tenants again and again'],
  ['across', 'rows of all tenants are read at once'],
  ['reference', 'a change of the reference table is seen beside every tenant'],
  ['home', 'a table without a tenant works as on one server'],
  ['bulk', 'hundreds of rows are inserted and deleted by one call each'],
  ['crowd', 'twenty transactions at once that change one row come one after the other'],
] as const

/** Name of a step that every program has. */
export type StepName = (typeof stepMeanings)[number][0]

/** Works on an open session and returns what an application would observe. */
export type Step<Session> = (session: Session) => Promise<Json>

/** A client or ORM under test. `Session` is its connection pool with whatever it needs beside it. */
export type Program<Session> = {
  readonly open: (target: Target, connectionsMax: number) => Promise<Session>
  readonly close: (session: Session) => Promise<void>
  readonly steps: Readonly<Record<StepName, Step<Session>>>
  /** Connections that keep a server, because of a session advisory lock that they once had. Default: 0. */
  readonly pinned?: number
  /** What this client alone offers, by the behaviour shown; runs after the common steps. */
  readonly more?: Readonly<Record<string, Step<Session>>>
}

/** A connection URL of `target`, for clients that want one. */
export function urlOf(target: Target): string {
  const { user, password, host, port, database } = target
  return `postgres://${user}:${encodeURIComponent(password)}@${host}:${port}/${database}`
}
