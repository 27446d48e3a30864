// What the partition tests share: how long things may take, clocked statements on two tenants of two shards, and a
// bystander whose statements on another shard must not notice.
import { assert } from '../../core/assert.ts'
import { shardId } from '../../core/ids.ts'
import { demoRole } from '../../demo/roles.ts'
import type { Database } from '../../proxy/database.ts'
import type { ShardServers } from '../../proxy/shard-servers.ts'
import type { Client } from 'pg'
import { connected, type Refusal, refusal } from '../support/clients.ts'
import type { ReplicatedStack, ReplicatedStackOptions } from '../support/replicated-stack.ts'
import type { Place } from '../support/stack.ts'

/** Longest pause between two looks at a server; a look may take as long, too. */
export const probeMs = 1_000
/** How long statements wait for a primary. */
export const waitMs = 3_000
/** Until a silent server counts as down: a pause, the look that fails, and the one that makes sure. */
export const noticeMs = 3 * probeMs
/** Until a connection to a server that is down is given up, beyond the time that is waited: a turn of the sweeper. */
export const sweepMs = 1_000
/** What a busy machine may add to any of these. */
export const slackMs = 4_000

/** A key on each of the two shards. */
export const tenants = { s1: 2, s2: 1 } as const
type Shard = keyof typeof tenants

/** Two shards, with relays. */
export const twoShards = {
  shards: 2,
  relays: true,
  setupSql: 'CREATE TABLE notes (tenant_id bigint, id bigint, PRIMARY KEY (tenant_id, id))',
  settings: { max_prepared_transactions: '50', max_connections: '200' },
  failover: { probeMs, waitMs },
} as const satisfies Partial<ReplicatedStackOptions>

/** How a statement has ended, and after how long. */
export type Ended = {
  readonly ms: number
  /** SQLSTATE; 'ok' when it succeeded. */
  readonly code: string
  readonly message: string
  /** First column of the rows, as text. */
  readonly rows: readonly string[]
}

/** Runs `text`; an error is part of the result. */
export async function run(client: Client, text: string): Promise<Ended> {
  const startedMs = performance.now()
  const asked = client.query<unknown[]>({ text, rowMode: 'array' })
  const failed: Refusal | null = await asked.then(
    () => null,
    () => refusal(asked),
  )
  const ms = performance.now() - startedMs
  if (failed === null) {
    const { rows } = await asked
    return { ms, code: 'ok', message: '', rows: rows.map(([first]) => String(first)) }
  }
  return { ms, code: failed.code ?? 'no SQLSTATE', message: failed.message, rows: [] }
}

/** Ids of a shard's notes, read where the session may. */
export function notesOf(shard: Shard): string {
  return `SELECT id FROM notes WHERE tenant_id = ${tenants[shard]} ORDER BY id`
}

/** The same from the primary. */
export function notesOnPrimary(shard: Shard): string {
  return `/* ringfence:primary */ ${notesOf(shard)}`
}

/** Writes a note; with `seconds` it takes that long on the server. */
export function insertNote(shard: Shard, id: number, seconds = 0): string {
  if (seconds === 0) return `INSERT INTO notes VALUES (${tenants[shard]}, ${id})`
  return `INSERT INTO notes SELECT ${tenants[shard]}, ${id} FROM pg_sleep(${seconds})`
}

/** Clients of one place, closed by `end`. */
export class Clients {
  readonly #place: Place
  readonly #clients: Client[] = []

  constructor(place: Place) {
    this.#place = place
  }

  async one(): Promise<Client> {
    const client = await connected(this.#place)
    this.#clients.push(client)
    return client
  }

  async end(): Promise<void> {
    await Promise.allSettled(this.#clients.map((client) => client.end()))
  }
}

/** What a proxy of the stack knows of its database. */
export function databaseOf(stack: ReplicatedStack, proxy: number): Database {
  const database = stack.proxy(proxy).instance?.databases.get(demoRole.database)
  assert(database !== undefined, 'the proxy runs in this process')
  return database
}

/** What a proxy of the stack knows of a shard's servers. */
export function serversOf(stack: ReplicatedStack, proxy: number, shard: Shard): ShardServers {
  return databaseOf(stack, proxy).serversOf(shardId(shard))
}

/** A client that goes on with short statements, each of them clocked. */
export class Bystander {
  readonly #client: Client
  readonly #times: { readonly atMs: number; readonly ms: number }[] = []
  readonly failures: string[] = []
  #stopped = false
  #loop: Promise<void> = Promise.resolve()

  private constructor(client: Client) {
    this.#client = client
  }

  /** Runs `text` again and again, and has done so for a while already. */
  static async start(place: Place, text: string): Promise<Bystander> {
    const bystander = new Bystander(await connected(place))
    bystander.#loop = bystander.#run(text)
    while (bystander.#times.length < 15) await sleep(20)
    return bystander
  }

  /** Median time of the statements that have ended between two moments of performance.now(). */
  medianMs(fromMs: number, toMs: number): number {
    const times = this.#times.filter(({ atMs }) => atMs >= fromMs && atMs <= toMs)
    const sorted = times.map(({ ms }) => ms).sort((a, b) => a - b)
    return sorted[Math.floor(sorted.length / 2)] ?? Number.POSITIVE_INFINITY
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#loop
    await this.#client.end()
  }

  async #run(text: string): Promise<void> {
    while (!this.#stopped) {
      const { ms, code, message } = await run(this.#client, text)
      if (code !== 'ok') this.failures.push(`${code} ${message}`)
      this.#times.push({ atMs: performance.now(), ms })
      await sleep(20)
    }
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
