// Slow readers on either side: the proxy keeps little of what they have not taken yet, and everybody
// else goes on.
import { connect, type Socket } from 'node:net'
import { afterEach, describe, expect, inject, it } from 'vitest'
import {
  askServer,
  connected,
  pause,
  present,
  until,
  value,
  withClient,
} from '../support/clients.ts'
import { frontendMessage, startupBytes, textBytes } from '../support/frontend-bytes.ts'
import { type Stack, startStack } from '../support/stack.ts'

const servers = present(inject('servers')[0])
const mebibyte = 1024 * 1024
const growthBytesMax = 48 * mebibyte
const rowBytes = 10_000
const rowCount = 21_000
const resultBytes = rowBytes * rowCount

let stack: Stack
afterEach(() => stack.close())

/** A client that reads only as much as `take` asks for. */
class SlowReader {
  readonly #socket: Socket
  readonly #ended: Promise<unknown>
  takenBytes = 0
  tail: Buffer = Buffer.alloc(0)

  constructor(socket: Socket) {
    this.#socket = socket
    this.#ended = new Promise((resolve) => socket.once('close', resolve))
    socket.on('error', () => undefined)
    socket.pause()
    socket.on('data', (chunk: Buffer) => {
      this.takenBytes += chunk.length
      this.tail = Buffer.concat([this.tail, chunk]).subarray(-64)
    })
  }

  send(bytes: Buffer): void {
    this.tail = Buffer.alloc(0)
    this.#socket.write(bytes)
  }

  /** Resolves when the kernel has taken it. */
  sendAndWait(bytes: Buffer): Promise<void> {
    return new Promise((resolve) => {
      if (this.#socket.write(bytes)) resolve()
      else this.#socket.once('drain', resolve)
    })
  }

  /** Reads until `done`. */
  async read(what: string, done: () => boolean): Promise<void> {
    this.#socket.resume()
    await until(what, done, 60_000)
    this.#socket.pause()
  }

  async close(): Promise<void> {
    this.#socket.destroy()
    await this.#ended
  }
}

async function slowReader(): Promise<SlowReader> {
  const { host, port, user, database } = stack.proxy
  const socket = connect({ host, port })
  const reader = new SlowReader(socket)
  reader.send(
    startupBytes(0, [
      ['user', user],
      ['database', database],
    ]),
  )
  await reader.read('it is in', () => readyAgain(reader))
  reader.takenBytes = 0
  return reader
}

/** ReadyForQuery is the last that was read. */
function readyAgain({ tail }: SlowReader): boolean {
  return tail.subarray(-6).equals(Buffer.from('5a0000000549', 'hex'))
}

/**
 * Most that the process keeps in JavaScript's memory while `work` runs, above what it kept before. Not the
 * resident size: V8 takes and gives back hundreds of MB while it compiles the parser's WASM anew.
 */
async function growthDuring(work: () => Promise<void>): Promise<number> {
  const kept = () => {
    const { heapUsed, arrayBuffers } = process.memoryUsage()
    return heapUsed + arrayBuffers
  }
  const before = kept()
  let highest = before
  const watch = setInterval(() => {
    highest = Math.max(highest, kept())
  }, 20)
  await work()
  clearInterval(watch)
  return highest - before
}

const trusting = {
  authRules: [{ database: null, user: null, address: null, method: 'trust' }],
} as const

describe.each([
  { way: 'from one server', shards: 1, from: `generate_series(1, ${rowCount})` },
  { way: 'from every shard', shards: 2, from: 'numbers' },
])('a client that does not read its 200 MB $way', ({ shards, from }) => {
  it('stops the servers instead of filling the proxy, and still gets all', async () => {
    const setup = 'CREATE TABLE numbers (tenant_id bigint, id int)'
    stack = await startStack(servers, {
      shards,
      ...trusting,
      ...(shards > 1 ? { setupSql: setup } : {}),
    })
    for (const [at, url] of shards > 1 ? stack.shardUrls.entries() : []) {
      const half = rowCount / shards
      const rows = `SELECT ${at + 1}, g FROM generate_series(1, ${half}) g`
      await askServer(url, `INSERT INTO numbers ${rows}`)
    }
    const reader = await slowReader()
    const growth = await growthDuring(async () => {
      reader.send(textBytes('Q', `SELECT repeat('x', ${rowBytes}) FROM ${from}`))
      const stuck = `SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite'
                     AND datname = current_database()`
      await until('the servers wait', async () => {
        const waiting = await Promise.all(stack.shardUrls.map((url) => askServer(url, stuck)))
        return waiting.every(([count]) => count === '1')
      })
      await pause(300)
      expect(reader.takenBytes).toBeLessThan(mebibyte)
      await withClient(stack.proxy, async (other) => {
        expect(await value(other, 'SELECT 1')).toBe('1')
      })
    })
    expect(growth).toBeLessThan(growthBytesMax)
    await reader.read('everything has come', () => readyAgain(reader))
    expect(reader.takenBytes).toBeGreaterThan(resultBytes)
    await until('the servers are back', () => stack.poolStats().leased === 0)
    await reader.close()
  })
})

describe('COPY FROM STDIN into a server that does not read', () => {
  it('stops the client instead of filling the proxy, and still loads everything', async () => {
    stack = await startStack(servers, { shards: 1, ...trusting })
    const locker = await connected({ connectionString: stack.shardUrls[0] ?? '' })
    await locker.query(`
      CREATE TABLE loaded (line text);
      CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock_shared(77); RETURN NEW; END $$;
      CREATE TRIGGER wait BEFORE INSERT ON loaded FOR EACH ROW EXECUTE FUNCTION wait();
      SELECT pg_advisory_lock(77)`)
    const writer = await slowReader()
    writer.send(textBytes('Q', 'COPY loaded FROM STDIN'))
    await writer.read('the COPY has begun', () => writer.tail.includes('G'))
    const line = frontendMessage('d', Buffer.from(`${'x'.repeat(rowBytes)}\n`))
    const block = Buffer.concat(Array.from({ length: 10 }, () => line))
    const blocks = resultBytes / (10 * rowBytes)
    let sentBytes = 0
    const sending = (async () => {
      for (let sent = 0; sent < blocks; sent += 1) {
        sentBytes += block.length
        await writer.sendAndWait(block)
      }
    })()
    const growth = await growthDuring(async () => {
      let before = -1
      await until('nothing more is taken', async () => {
        const still = before === sentBytes
        before = sentBytes
        await pause(200)
        return still
      })
      // Kernel buffers of two connections, and what the proxy lets wait.
      expect(sentBytes).toBeLessThan(32 * mebibyte)
    })
    expect(growth).toBeLessThan(growthBytesMax)
    await locker.query('SELECT pg_advisory_unlock(77)')
    await sending
    writer.send(frontendMessage('c'))
    await writer.read('the COPY has ended', () => readyAgain(writer))
    expect(await value(locker, 'SELECT count(*) FROM loaded')).toBe(String(10 * blocks))
    await writer.close()
    await locker.end()
  })
})
