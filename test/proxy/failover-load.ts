// Clients at work on one database through several proxies while its servers change: autocommit writes, reads and
// transactions. Everything that was acknowledged, and every error, is written down.
import { type Client, DatabaseError } from 'pg'
import { connected, pause } from '../support/clients.ts'
import type { Place } from '../support/stack.ts'

/** What the load needs to be there. */
export const ledgerSql = `
CREATE TABLE ledger (id integer PRIMARY KEY, part integer NOT NULL)

INSERT INTO ledger VALUES (0, 0)

CREATE FUNCTION served_port() RETURNS integer STABLE LANGUAGE sql
  AS 'SELECT pg_catalog.current_setting(''port'')::integer'
`

export type LoadOptions = {
  /** Of the proxies. */
  readonly places: readonly Place[]
  /** Of each kind, on each proxy. */
  readonly clients: { readonly writers: number; readonly readers: number; readonly movers: number }
  /** Between two statements of a client. */
  readonly pauseMs: number
}

type Kind = 'write' | 'read' | 'transaction'

/** A statement that failed. */
export type Failure = {
  readonly client: string
  readonly kind: Kind
  readonly step: 'statement' | 'commit'
  readonly code: string | null
  readonly message: string
  /** Row that it or its transaction was about. */
  readonly id: number
  readonly sentAtMs: number
}

/** A write that was acknowledged. */
export type Acknowledged = {
  readonly id: number
  readonly parts: number
  readonly proxy: number
  readonly sentAtMs: number
  readonly atMs: number
}

/** A read that was answered. */
export type Answered = { readonly port: number; readonly sentAtMs: number; readonly wrong: boolean }

type Actor = { readonly client: Client; readonly proxy: number; readonly name: string }

export class Load {
  readonly acknowledged: Acknowledged[] = []
  readonly answered: Answered[] = []
  readonly failures: Failure[] = []
  statements = 0
  readonly #options: LoadOptions
  readonly #running: Promise<void>[] = []
  readonly #clients: Client[] = []
  #sinceMs = performance.now()
  #stopped = false
  #ids: number

  /** Rows get numbers above `firstId`. */
  constructor(options: LoadOptions, firstId: number) {
    this.#options = options
    this.#ids = firstId
  }

  /** Resolves when everybody has logged in and works. */
  async start(): Promise<void> {
    const { places, clients } = this.#options
    const jobs: readonly [number, (actor: Actor) => Promise<void>][] = [
      [clients.writers, (actor) => this.#write(actor)],
      [clients.readers, (actor) => this.#read(actor)],
      [clients.movers, (actor) => this.#transact(actor)],
    ]
    const actors: { readonly actor: Actor; readonly job: (actor: Actor) => Promise<void> }[] = []
    for (const [proxy, place] of places.entries()) {
      for (const [kind, [count, job]] of jobs.entries()) {
        for (let at = 0; at < count; at += 1) {
          const client = await connected(place)
          this.#clients.push(client)
          actors.push({ actor: { client, proxy, name: `${proxy}/${kind}/${at}` }, job })
        }
      }
    }
    this.#sinceMs = performance.now()
    for (const { actor, job } of actors) this.#running.push(this.#repeat(actor, job))
  }

  /** Statements per second since the start. */
  get rate(): number {
    return (this.statements / (performance.now() - this.#sinceMs)) * 1_000
  }

  /** Ends when every client has its last answer. */
  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#running)
    await Promise.all(this.#clients.map((client) => client.end().catch(() => undefined)))
  }

  /** Failures by kind, step and SQLSTATE, for a person. */
  get failureText(): string {
    const counts = new Map<string, number>()
    for (const { kind, step, code } of this.failures) {
      const key = `${kind} ${step} ${code ?? 'no code'}`
      counts.set(key, (counts.get(key) ?? 0) + 1)
    }
    return [...counts].map(([key, count]) => `${count} × ${key}`).join(', ') || 'none'
  }

  async #repeat(actor: Actor, job: (actor: Actor) => Promise<void>): Promise<void> {
    while (!this.#stopped) {
      await job(actor)
      await pause(this.#options.pauseMs)
    }
  }

  async #write({ client, proxy, name }: Actor): Promise<void> {
    this.#ids += 1
    const id = this.#ids
    const sentAtMs = performance.now()
    // Every other client's statements are prepared under a name.
    const prepared = id % 2 === 0 ? { name: 'write' } : {}
    const text = 'INSERT INTO ledger VALUES ($1, 0)'
    try {
      await this.#send(client.query({ ...prepared, text, values: [id] }))
      this.acknowledged.push({ id, parts: 1, proxy, sentAtMs, atMs: performance.now() })
    } catch (error) {
      this.#failed(error, { client: name, kind: 'write', step: 'statement', id, sentAtMs })
    }
  }

  async #read({ client, name }: Actor): Promise<void> {
    const sentAtMs = performance.now()
    const text = 'SELECT served_port() AS port, $1::int AS echo FROM ledger WHERE id = 0'
    const id = this.#ids
    try {
      const query = client.query<{ port: number; echo: number }>({ text, values: [id] })
      const [row] = (await this.#send(query)).rows
      this.answered.push({ port: row?.port ?? 0, sentAtMs, wrong: row?.echo !== id })
    } catch (error) {
      this.#failed(error, { client: name, kind: 'read', step: 'statement', id, sentAtMs })
    }
  }

  /** Two rows under two numbers, both or neither. */
  async #transact({ client, proxy, name }: Actor): Promise<void> {
    this.#ids += 1
    const id = this.#ids
    const kind = 'transaction'
    let sentAtMs = performance.now()
    let step: Failure['step'] = 'statement'
    try {
      await this.#send(client.query('BEGIN'))
      sentAtMs = performance.now()
      await this.#send(client.query('INSERT INTO ledger VALUES ($1, 1)', [id]))
      sentAtMs = performance.now()
      await this.#send(client.query('INSERT INTO ledger VALUES ($1, 2)', [-id]))
      sentAtMs = performance.now()
      step = 'commit'
      const { command } = await this.#send(client.query('COMMIT'))
      if (command !== 'COMMIT') throw new Error(`COMMIT was answered with ${command}`)
      this.acknowledged.push({ id, parts: 2, proxy, sentAtMs, atMs: performance.now() })
    } catch (error) {
      this.#failed(error, { client: name, kind, step, id, sentAtMs })
      await client.query('ROLLBACK').catch((again: unknown) => {
        this.#failed(again, { client: name, kind, step, id, sentAtMs: performance.now() })
      })
    }
  }

  async #send<T>(query: Promise<T>): Promise<T> {
    this.statements += 1
    return query
  }

  #failed(error: unknown, failure: Omit<Failure, 'code' | 'message'>): void {
    const code = error instanceof DatabaseError ? (error.code ?? null) : null
    const message = error instanceof Error ? error.message : String(error)
    this.failures.push({ ...failure, code, message })
  }
}

/** What is wrong with the ledger of a server that has it, compared with what clients were told. */
export function faultsOf(load: Load, rows: readonly number[]): readonly string[] {
  const kept = new Set(rows)
  const lost = load.acknowledged.filter(
    ({ id, parts }) => !kept.has(id) || (parts === 2 && !kept.has(-id)),
  )
  const halves = rows.filter((id) => id < 0 && !kept.has(-id))
  // Of these clients were told that nothing was kept.
  const ghosts = load.failures.filter(({ code, id }) => code === '40001' && kept.has(id))
  return [
    ...lost.map(({ id }) => `${id} was acknowledged and is lost`),
    ...halves.map((id) => `${id} was kept without the other half`),
    ...ghosts.map(({ id, kind }) => `the ${kind} of ${id} was denied and is there`),
  ]
}
