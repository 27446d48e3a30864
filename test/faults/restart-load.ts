// Clients at work while their server restarts: readers and writers, simple and prepared, in transactions and without. Every
// write has an id of its own in a table without a key, so that one that was run twice shows.
import { type Client, DatabaseError } from 'pg'
import { connected, pause } from '../support/clients.ts'
import type { Place } from '../support/stack.ts'

/** What the load needs to be there. */
export const loadSetup = `CREATE TABLE entries (id text)

CREATE TABLE items AS SELECT g AS id, 'note ' || g AS note FROM generate_series(0, 99) g

ALTER TABLE items ADD PRIMARY KEY (id)`

/** `unknown`: it may have been kept. Rows that it should have are `rows`. */
export type Write = {
  readonly id: string
  readonly outcome: 'kept' | 'undone' | 'unknown'
  readonly rows: number
}

type Kind = 'read' | 'write' | 'transaction'

/** An error that a client was told. */
export type LoadFailure = {
  readonly kind: Kind
  readonly step: 'statement' | 'commit'
  /** Null: the connection has ended. */
  readonly sqlstate: string | null
  readonly message: string
}

type Actor = {
  readonly number: number
  readonly act: (client: Client, id: string) => Promise<void>
  client: Client
  successes: number
}

const betweenMs = 5
const itemCount = 100
const rowsPerTransaction = 2
const insertBound = { name: 'add', text: 'INSERT INTO entries VALUES ($1)' }
const selectBound = { name: 'look', text: 'SELECT note FROM items WHERE id = $1' }

export class RestartLoad {
  readonly writes: Write[] = []
  readonly failures: LoadFailure[] = []
  readonly wrongAnswers: string[] = []
  readonly #place: Place
  readonly #actors: Actor[] = []
  readonly #running: Promise<void>[] = []
  #stopped = false
  #count = 0

  constructor(place: Place) {
    this.#place = place
  }

  /** `each` readers and as many writers. */
  async start(each: number): Promise<void> {
    const readers = [this.#readSimply, this.#readPrepared]
    const writers = [
      (client: Client, id: string) => this.#write(client, id, false),
      (client: Client, id: string) => this.#write(client, id, true),
      (client: Client, id: string) => this.#transact(client, id, false),
      (client: Client, id: string) => this.#transact(client, id, true),
    ]
    for (const acts of [readers, writers]) {
      for (let at = 0; at < each; at += 1) {
        const act = acts[at % acts.length] ?? this.#readSimply
        const client = await connected(this.#place)
        this.#actors.push({ number: this.#actors.length, act, client, successes: 0 })
      }
    }
    for (const actor of this.#actors) this.#running.push(this.#repeat(actor))
  }

  /** Successes of the client that has fewest. */
  get fewestSuccesses(): number {
    return Math.min(...this.#actors.map(({ successes }) => successes))
  }

  /** Counts them anew. */
  forgetSuccesses(): void {
    for (const actor of this.#actors) actor.successes = 0
  }

  /** Ends when everybody has the last answer. */
  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#running)
    await Promise.all(this.#actors.map(({ client }) => client.end().catch(() => undefined)))
  }

  async #repeat(actor: Actor): Promise<void> {
    while (!this.#stopped) {
      this.#count += 1
      const before = this.failures.length
      await actor.act(actor.client, `${actor.number}-${this.#count}`)
      const ended = this.failures.slice(before).some(({ sqlstate }) => sqlstate === null)
      if (!ended) actor.successes += 1
      else actor.client = await connected(this.#place)
      await pause(betweenMs)
    }
  }

  readonly #readSimply = async (client: Client): Promise<void> => {
    const item = this.#count % itemCount
    await this.#read(item, client, { text: `SELECT note FROM items WHERE id = ${item}` })
  }

  readonly #readPrepared = async (client: Client): Promise<void> => {
    const item = this.#count % itemCount
    await this.#read(item, client, { ...selectBound, values: [item] })
  }

  async #read(
    item: number,
    client: Client,
    query: { readonly text: string; readonly values?: readonly number[] },
  ): Promise<void> {
    try {
      const { values, ...others } = query
      const { rows } = await client.query<{ note: string }>({
        ...others,
        ...(values === undefined ? {} : { values: [...values] }),
      })
      const found = rows.map(({ note }) => note).join()
      if (found !== `note ${item}`) this.wrongAnswers.push(`item ${item}: ${found}`)
    } catch (error) {
      this.#failed('read', 'statement', error)
    }
  }

  async #write(client: Client, id: string, prepared: boolean): Promise<void> {
    try {
      await insert(client, id, prepared)
      this.writes.push({ id, outcome: 'kept', rows: 1 })
    } catch (error) {
      const sqlstate = this.#failed('write', 'statement', error)
      this.writes.push({ id, outcome: sqlstate === '08001' ? 'undone' : 'unknown', rows: 1 })
    }
  }

  async #transact(client: Client, id: string, prepared: boolean): Promise<void> {
    const rows = rowsPerTransaction
    try {
      await client.query('BEGIN')
      for (let row = 0; row < rows; row += 1) await insert(client, id, prepared)
    } catch (error) {
      this.#failed('transaction', 'statement', error)
      this.writes.push({ id, outcome: 'undone', rows })
      await client.query('ROLLBACK').catch((thrown: unknown) => {
        this.#failed('transaction', 'statement', thrown)
      })
      return
    }
    try {
      const { command } = await client.query('COMMIT')
      this.writes.push({ id, outcome: command === 'COMMIT' ? 'kept' : 'undone', rows })
    } catch (error) {
      const sqlstate = this.#failed('transaction', 'commit', error)
      this.writes.push({ id, outcome: sqlstate === '40001' ? 'undone' : 'unknown', rows })
    }
  }

  #failed(kind: Kind, step: LoadFailure['step'], error: unknown): string | null {
    const sqlstate = error instanceof DatabaseError ? (error.code ?? null) : null
    const message = error instanceof Error ? error.message : String(error)
    this.failures.push({ kind, step, sqlstate, message })
    return sqlstate
  }
}

async function insert(client: Client, id: string, prepared: boolean): Promise<void> {
  if (prepared) await client.query({ ...insertBound, values: [id] })
  else await client.query(`INSERT INTO entries VALUES ('${id}')`)
}
