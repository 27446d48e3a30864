// Clients that are slower than their server, and servers that are slower than their client: what the proxy holds for them
// does not grow with what is on the way.
import type { Socket } from 'node:net'
import { askServer, connected, pause, until } from '../support/clients.ts'
import {
  bindBytes,
  executeBytes,
  frontendMessage,
  parseBytes,
  startupBytes,
  textBytes,
} from '../support/frontend-bytes.ts'
import { answer, opened, secured, sslRequest, trusting } from '../support/tls-client.ts'
import { keptBytes, type MeasuredProxy } from './measured-proxy.ts'

type SlowOptions = {
  readonly tls: boolean
  readonly extended: boolean
  /** The result comes by COPY … TO STDOUT. */
  readonly copies?: boolean
  /** Of the whole result or COPY. */
  readonly totalBytes: number
  /** Taken by the client at most, before it goes away; `totalBytes` for all. */
  readonly readBytes: number
}

/** The most that was held while it went on, above what was held before: JavaScript's, and the process's, in bytes. */
type Growth = {
  readonly keptBytes: number
  readonly residentBytes: number
  readonly samples: number
}

const rowBytes = 10_000
const empty = Buffer.alloc(0)
/** A bite, then a pause in which the proxy is asked what it holds. */
const biteBytes = 4 * 1024 * 1024

/** Where COPY goes to wait: each row takes a lock that somebody else has. */
export const slowTable = `CREATE TABLE slow (line text)

CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN PERFORM pg_advisory_xact_lock_shared(77); RETURN NULL; END $$

CREATE TRIGGER wait BEFORE INSERT ON slow FOR EACH ROW EXECUTE FUNCTION wait()`

/** A client that reads a big result in bites. @throws when bytes are missing at the end */
export async function readSlowly(proxy: MeasuredProxy, options: SlowOptions): Promise<Growth> {
  const { totalBytes, readBytes, extended, copies = false } = options
  const socket = await login(proxy, options.tls)
  const rows = `SELECT repeat('x', ${rowBytes}) FROM generate_series(1, ${Math.ceil(totalBytes / rowBytes)})`
  const sql = copies ? `COPY (${rows}) TO STDOUT` : rows
  let takenBytes = 0
  socket.on('data', (chunk: Buffer) => {
    takenBytes += chunk.length
  })
  socket.pause()
  const before = await proxy.held()
  const growth = new Highest(proxy, before)
  socket.write(extended ? extendedQuery(sql) : textBytes('Q', sql))
  for (let wanted = biteBytes; wanted <= readBytes; wanted += biteBytes) {
    socket.resume()
    await until('a bite has come', () => takenBytes >= wanted, 60_000)
    socket.pause()
    await pause(30)
    await growth.look()
  }
  socket.destroy()
  await until('its server is back', async () => (await proxy.held()).leased === 0)
  return growth.highest
}

/** A client that sends more than its server takes; what it could not send by then is never sent. */
export async function sendTooFast(proxy: MeasuredProxy, options: SlowOptions): Promise<Growth> {
  const locker = await connected({ connectionString: proxy.shardUrls[0] ?? '' })
  await locker.query('SELECT pg_advisory_lock(77)')
  const socket = await login(proxy, options.tls)
  const before = await proxy.held()
  const growth = new Highest(proxy, before)
  const sql = 'COPY slow FROM STDIN'
  const begun = answer(socket)
  socket.write(options.extended ? extendedQuery(sql, frontendMessage('H')) : textBytes('Q', sql))
  await begun
  const line = frontendMessage('d', Buffer.from(`${'x'.repeat(rowBytes)}\n`))
  const block = Buffer.concat(Array.from({ length: 100 }, () => line))
  let sentBytes = 0
  // Ends when nothing has been taken for a while: what the kernel and the proxy let wait is full.
  while (sentBytes < options.totalBytes) {
    const taken = socket.write(block) || (await drained(socket))
    if (!taken) break
    sentBytes += block.length
    if (sentBytes % (4 * block.length) === 0) await growth.look()
  }
  if (sentBytes >= options.totalBytes) throw new Error('the server was not slow')
  await growth.look()
  await locker.query('SELECT pg_advisory_unlock(77)')
  socket.destroy()
  await until('its server is back', async () => (await proxy.held()).leased === 0)
  const [rows] = await askServer(proxy.shardUrls[0] ?? '', 'SELECT count(*) FROM slow')
  if (rows !== '0') throw new Error(`${rows} rows of a COPY that was not finished are there`)
  await locker.end()
  return growth.highest
}

const stillMs = 500

function drained(socket: Socket): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), stillMs)
    socket.once('drain', () => {
      clearTimeout(timer)
      resolve(true)
    })
  })
}

class Highest {
  readonly #proxy: MeasuredProxy
  readonly #before: { readonly kept: number; readonly resident: number }
  highest: Growth = { keptBytes: 0, residentBytes: 0, samples: 0 }

  constructor(proxy: MeasuredProxy, before: Awaited<ReturnType<MeasuredProxy['held']>>) {
    this.#proxy = proxy
    this.#before = { kept: keptBytes(before), resident: before.residentBytes }
  }

  async look(): Promise<void> {
    const held = await this.#proxy.held()
    const { highest } = this
    this.highest = {
      keptBytes: Math.max(highest.keptBytes, keptBytes(held) - this.#before.kept),
      residentBytes: Math.max(highest.residentBytes, held.residentBytes - this.#before.resident),
      samples: highest.samples + 1,
    }
  }
}

function extendedQuery(sql: string, end = frontendMessage('S')): Buffer {
  return Buffer.concat([
    parseBytes(empty, Buffer.from(sql), []),
    bindBytes(empty, empty, [], []),
    executeBytes(empty, 0),
    end,
  ])
}

/** A socket that has logged in. */
async function login({ place }: MeasuredProxy, tls: boolean): Promise<Socket> {
  const plain = await opened(place)
  plain.on('error', () => undefined)
  if (tls) {
    plain.write(sslRequest)
    await answer(plain)
  }
  const socket = tls ? await secured(plain, trusting()) : plain
  socket.on('error', () => undefined)
  const parameters = [
    ['user', place.user],
    ['database', place.database],
  ] as const
  socket.write(startupBytes(0, parameters))
  let tail: Buffer = Buffer.alloc(0)
  const take = (chunk: Buffer) => {
    tail = Buffer.concat([tail, chunk]).subarray(-6)
  }
  socket.on('data', take)
  await until('it is in', () => tail.equals(Buffer.from('5a0000000549', 'hex')))
  socket.off('data', take)
  return socket
}
