// The fast lane against a real server: statements of several riders in flight on one connection.
import { array, assert, asyncProperty, constant, oneof } from 'fast-check'
import { afterEach, describe, expect, inject, it } from 'vitest'
import { systemClock } from '../../core/clock.ts'
import { shardId } from '../../core/ids.ts'
import type { LaneServer, Rider } from '../../pool/lane.ts'
import { Pace } from '../../pool/pace.ts'
import type { Pool } from '../../pool/pool.ts'
import type { ReplySink, ServerConnection, ServerTarget } from '../../pool/server-connection.ts'
import { SettingsProfile } from '../../pool/settings-profile.ts'
import { decodeDataRow, decodeErrorFields } from '../../wire/backend.ts'
import { backend } from '../../wire/codes.ts'
import { Waiter } from '../../pool/waiters.ts'
import { writeQuery } from '../../wire/frontend.ts'
import { Writer } from '../../wire/writer.ts'
import { askServer, present, until } from '../support/clients.ts'
import { closePools, lease, poolTo } from './pools.ts'

const [newest] = inject('servers')
const home = present(present(newest).shards[0])

afterEach(() => closePools())

function targetOf(url: string): ServerTarget {
  const { hostname: host, port, username: user, password, pathname } = new URL(url)
  const place = { host, port: Number(port), database: pathname.slice(1) }
  return { shard: shardId('s1'), role: 'primary', ...place, user, password }
}

/** A client with one statement, which notes what it is told. */
class Passenger implements Rider, ReplySink {
  readonly rows = 'whole'
  readonly sink = this
  readonly pace: Pace
  answerBytes = 0
  answer: string | null = null
  rescues = 0
  over = false
  readonly #pool: Pool
  #lent: LaneServer | null = null

  constructor(pool: Pool, pace: Pace) {
    this.#pool = pool
    this.pace = pace
  }

  /** False when there is no place. */
  send(sql: string, profile = SettingsProfile.empty): boolean {
    const lent = this.#pool.lane.board(this, profile, '')
    if (lent === null) return false
    this.#lent = lent
    const writer = new Writer(64)
    writeQuery(writer, sql)
    lent.server.begin(this)
    lent.server.send(writer.bytes())
    return true
  }

  get server(): ServerConnection {
    return this.#boarded.server
  }

  get #boarded(): LaneServer {
    if (this.#lent === null) throw new Error('it has boarded')
    return this.#lent
  }

  cancel(): Promise<void> | null {
    return this.#pool.lane.cancel(this.#boarded, this)
  }

  rescued(): void {
    this.rescues += 1
    this.over = true
  }

  slice(): void {}

  frame(code: number, bytes: Uint8Array): void {
    if (code === backend.dataRow) this.answer = text(decodeDataRow(bytes)[0])
    if (code === backend.errorResponse) this.answer = decodeErrorFields(bytes).get('C') ?? ''
    if (code !== backend.readyForQuery) return
    this.over = true
    this.#pool.lane.left(this.#boarded)
  }

  lost(): void {
    this.over = true
    this.answer = 'lost'
  }
}

class Told extends Waiter {
  readonly #told: string[]

  constructor(told: string[]) {
    super('')
    this.#told = told
  }

  granted(): void {
    this.#told.push('granted')
  }

  refused(): void {
    this.#told.push('refused')
  }
}

const text = (value: Uint8Array | null | undefined) => Buffer.from(value ?? []).toString()

function known(): Pace {
  const pace = new Pace()
  for (let run = 0; run < 3; run += 1) pace.ran({ late: false, bytes: 1 }, systemClock.nowMs())
  return pace
}

/** A pool with idle connections for the lane. */
async function open(size: number, laneServersMax: number): Promise<Pool> {
  const pool = poolTo(targetOf(home.url), { size, laneServersMax })
  const servers = await Promise.all(Array.from({ length: size }, () => lease(pool)))
  for (const server of servers) pool.release(server)
  return pool
}

const riders = (pool: Pool, count: number, pace = known()) =>
  Array.from({ length: count }, () => new Passenger(pool, pace))

const allOver = (passengers: readonly Passenger[]) =>
  until('all are answered', () => passengers.every(({ over }) => over))

describe('the fast lane', () => {
  it('answers everybody in order, and an error is told to its own client', async () => {
    const pool = await open(2, 1)
    const passengers = riders(pool, 50)
    const sent = passengers.map((each, at) => each.send(`SELECT 10 / ${at % 7} + ${at}`))
    expect(sent.every(Boolean)).toBe(true)
    await allOver(passengers)
    const expected = passengers.map((_, at) =>
      at % 7 === 0 ? '22012' : String(Math.trunc(10 / (at % 7)) + at),
    )
    // On a machine that is busy elsewhere some may have been taken away.
    const answers = passengers.map(({ answer, rescues }, at) =>
      rescues > 0 ? expected[at] : answer,
    )
    expect(answers).toEqual(expected)
    expect(new Set(passengers.map(({ server }) => server)).size).toBe(1)
    expect(pool.lane.counts).toMatchObject({ rides: 50, full: 0 })
  })

  it('grants the server that it gives back to who waits, but not before he has finished asking', async () => {
    const pool = await open(1, 1)
    const [passenger] = riders(pool, 1)
    expect(passenger?.send('SELECT 1')).toBe(true)
    const told: string[] = []
    const waiter = new Told(told)
    expect(pool.acquire(SettingsProfile.empty, waiter)).toBeNull()
    told.push('asked')
    await until('it is granted', () => told.length > 1)
    expect(told).toEqual(['asked', 'granted'])
  })

  it('goes to an idle server if there is one, else to the least laden one', async () => {
    const pool = await open(4, 3)
    const pace = known()
    const step = oneof(constant('send' as const), constant('wait' as const))
    await assert(
      asyncProperty(array(step, { maxLength: 60 }), async (steps) => {
        const sent: Passenger[] = []
        for (const what of steps) {
          if (what === 'wait') {
            await new Promise((resolve) => setImmediate(resolve))
            continue
          }
          const before = pool.lane.servers.map(({ server, riders: { length } }) => ({
            server,
            length,
          }))
          const passenger = new Passenger(pool, pace)
          if (!passenger.send('SELECT 1')) continue
          sent.push(passenger)
          const chosen = before.find(({ server }) => server === passenger.server)
          const least = Math.min(...before.map(({ length }) => length))
          // A server that was borrowed for it was idle.
          expect(chosen?.length ?? 0).toBe(before.length < 3 && least > 0 ? 0 : least)
        }
        await allOver(sent)
        expect(sent.every(({ answer, rescues }) => answer === '1' || rescues > 0)).toBe(true)
      }),
      { numRuns: 30 },
    )
  })

  it('takes everybody away from behind a statement that does not end', async () => {
    const pool = await open(2, 1)
    const [slow, ...others] = riders(pool, 10)
    expect(present(slow).send('SELECT pg_sleep(0.2), 1')).toBe(true)
    for (const other of others) expect(other.send('SELECT 1')).toBe(true)
    await until('the others are taken away', () => others.every(({ rescues }) => rescues === 1))
    expect(present(slow).over).toBe(false)
    // Nobody boards before it is over.
    expect(new Passenger(pool, known()).send('SELECT 1')).toBe(false)
    await allOver([present(slow)])
    await until('its server is free', () =>
      pool.lane.servers.every((lent) => lent.riders.length === 0),
    )
    const next = new Passenger(pool, known())
    expect(next.send('SELECT 2')).toBe(true)
    await allOver([next])
    expect(next.answer).toBe('2')
    expect(others.every(({ answer }) => answer === null)).toBe(true)
  })

  it('has nobody wait behind a statement that is not known yet', async () => {
    const pool = await open(2, 1)
    const unknown = new Passenger(pool, new Pace())
    expect(unknown.send('SELECT 1')).toBe(true)
    expect(new Passenger(pool, known()).send('SELECT 2')).toBe(false)
    expect(new Passenger(pool, new Pace()).send('SELECT 3')).toBe(false)
    await allOver([unknown])
    expect(new Passenger(pool, known()).send('SELECT 2')).toBe(true)
  })

  it('gives an idle server back though nobody asks for one', async () => {
    const pool = await open(1, 1)
    const [first] = riders(pool, 1)
    present(first).send('SELECT 1')
    expect(pool.lane.servers).toHaveLength(1)
    await allOver([present(first)])
    await until('it is given back', () => pool.lane.servers.length === 0)
    expect(pool.stats).toMatchObject({ idle: 1, leased: 0 })
  })

  it('gives its servers back when the pool is paused', async () => {
    const pool = await open(2, 2)
    const passengers = riders(pool, 5)
    for (const each of passengers) each.send('SELECT 1')
    const paused = pool.pause()
    await allOver(passengers)
    await paused
    // The heads of both servers stay whatever happens.
    expect(passengers.slice(0, 2).map(({ answer }) => answer)).toEqual(['1', '1'])
    expect(passengers.every(({ answer, rescues }) => answer === '1' || rescues > 0)).toBe(true)
    expect(pool.connections.size).toBe(0)
    pool.resume()
  })

  it('tells every rider when its server dies, and goes on with another', async () => {
    const pool = await open(2, 1)
    const passengers = riders(pool, 3)
    for (const each of passengers) each.send('SELECT pg_sleep(5)')
    const pid = present(passengers[0]).server.processId
    await askServer(home.url, `SELECT pg_terminate_backend(${pid})`)
    await allOver(passengers)
    expect(passengers.every(({ answer, rescues }) => answer === 'lost' || rescues === 1)).toBe(true)
    const next = new Passenger(pool, known())
    await until('there is a server', () => next.send('SELECT 3'))
    await allOver([next])
    expect(next.answer).toBe('3')
  })

  it('cancels what is running; what waits behind it is dropped unheard', async () => {
    const pool = await open(2, 1)
    const pace = known()
    const [running, waiting, behind] = riders(pool, 3, pace)
    present(running).send('SELECT pg_sleep(5)')
    present(waiting).send('SELECT 2')
    present(behind).send('SELECT 3')
    expect(present(waiting).cancel()).toBe(null)
    const { processId } = present(running).server
    await until('it runs', async () => {
      const sql = `SELECT state FROM pg_stat_activity WHERE pid = ${processId}`
      return (await askServer(home.url, sql))[0] === 'active'
    })
    await present(running).cancel()
    await allOver([present(running)])
    expect(present(running).answer).toBe('57014')
    expect(present(waiting).answer).toBe(null)
    // The request might have come late, in the middle of its rows.
    expect(present(behind).rescues).toBe(1)
    expect(present(behind).answer).toBe(null)
  })

  it('puts settings in force on an idle server, and keeps others off meanwhile', async () => {
    const pool = await open(2, 1)
    const berlin = SettingsProfile.empty.with('timezone', "SET timezone = 'Europe/Berlin'")
    const show = "SELECT current_setting('timezone')"
    const [one, same, other] = riders(pool, 3)
    expect(present(one).send(show, berlin)).toBe(true)
    expect(present(same).send(show, berlin)).toBe(true)
    expect(present(other).send(show)).toBe(false)
    await allOver([present(one), present(same)])
    expect([present(one).answer, present(same).answer]).toEqual(['Europe/Berlin', 'Europe/Berlin'])
    expect(present(other).send(show)).toBe(true)
    await allOver([present(other)])
    expect(present(other).answer).not.toBe('Europe/Berlin')
  })
})
