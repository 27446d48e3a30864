// Other clients of the same pool while a suite runs: each with settings of its own, so that what one client leaves on a
// server, and another finds there, shows in the suite's results. They keep no snapshot and no lock for long.
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'pg'
import type { Side } from './sides.ts'

const settings: readonly string[] = [
  "SET DateStyle TO 'German'; SET TimeZone TO 'Asia/Tokyo'",
  "SET search_path TO pg_catalog; SET IntervalStyle TO 'iso_8601'",
  'SET extra_float_digits TO 0; SET bytea_output TO escape; SET statement_timeout TO 60000',
  "SET client_min_messages TO error; SET xmlbinary TO hex; SET application_name TO 'noise'",
]

const statements: readonly string[] = ['SELECT 1', 'BEGIN; SELECT 1; COMMIT', 'SELECT 1/0']

/** Clients that work until `stop`. */
export class Noise {
  readonly #side: Side
  readonly #database: string
  readonly #ended: Promise<unknown>
  #stopped = false

  constructor(side: Side, database: string, clients: number) {
    this.#side = side
    this.#database = database
    this.#ended = Promise.all(Array.from({ length: clients }, (_, index) => this.#work(index)))
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#ended
  }

  async #work(index: number): Promise<void> {
    const { host, port, user, password } = this.#side
    const database = this.#database
    for (let life = index; !this.#stopped; life += 1) {
      const client = new Client({ host, port, user, password, database })
      client.on('error', () => undefined)
      await client.connect()
      await client.query(settings[life % settings.length] ?? '')
      for (let turn = 0; turn < 2_000 && !this.#stopped; turn += 1) {
        // Some of the statements fail; so do those that a suite's own doings interrupt.
        await client.query(statements[turn % statements.length] ?? '').catch(() => undefined)
        await delay(1 + (turn % 7))
      }
      await client.end().catch(() => undefined)
    }
  }
}
