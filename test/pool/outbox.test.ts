// Buffers that outboxes share, on real sockets: what one gathers never shows on another, and who is
// silent holds none.
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FlushTurn, Outbox } from '../../pool/outbox.ts'

describe('outboxes of one turn', () => {
  let server: Server
  const sockets: Socket[] = []

  beforeEach(async () => {
    server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1')
    await once(server, 'listening')
  })
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy()
    server.close()
    await once(server, 'close')
  })

  /** Both ends of a connection. */
  async function pair(): Promise<readonly [Socket, Socket]> {
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const writer = connect(port, '127.0.0.1')
    const [reader] = await Promise.all([
      new Promise<Socket>((resolve) => server.once('connection', resolve)),
      once(writer, 'connect'),
    ])
    sockets.push(writer, reader)
    return [writer, reader]
  }

  it('keep their bytes apart, also while slow readers leave buffers in use', async () => {
    const flushes = new FlushTurn()
    const ends = []
    for (let at = 0; at < 3; at += 1) ends.push(await pair())
    const outboxes = ends.map(([writer]) => new Outbox(writer, flushes))
    const pieceBytes = 5_000
    let pieces = 0
    // Until more was written than the kernel takes: otherwise nothing would be left in use.
    while (ends.some(([writer]) => writer.writableLength < 20 * pieceBytes)) {
      expect(pieces).toBeLessThan(10_000)
      for (const [at, outbox] of outboxes.entries()) {
        outbox.append(new Uint8Array(pieceBytes).fill((pieces + at * 16) % 256))
      }
      pieces += 1
      if (pieces % 5 === 0) await turn()
    }
    await turn()
    await Promise.all(
      ends.map(async ([, reader], at) => {
        const wanted = Buffer.concat(
          Array.from({ length: pieces }, (_, piece) =>
            Buffer.alloc(pieceBytes, (piece + at * 16) % 256),
          ),
        )
        const got: Buffer[] = []
        let bytes = 0
        for await (const chunk of reader.iterator({ destroyOnReturn: false })) {
          if (!Buffer.isBuffer(chunk)) continue
          got.push(chunk)
          bytes += chunk.length
          if (bytes >= wanted.length) break
        }
        expect(Buffer.concat(got).equals(wanted)).toBe(true)
      }),
    )
  })

  it('hold no buffer while they are silent', async () => {
    const flushes = new FlushTurn()
    const outboxes: Outbox[] = []
    const before = process.memoryUsage().arrayBuffers
    for (let at = 0; at < 200; at += 1) {
      const [writer] = await pair()
      const outbox = new Outbox(writer, flushes)
      outboxes.push(outbox)
      outbox.append(Buffer.from('once'))
      await turn()
      await turn()
    }
    const heldBytes = process.memoryUsage().arrayBuffers - before
    // A buffer each would be 3 MiB.
    expect(heldBytes).toBeLessThan(1024 * 1024)
    expect(outboxes.every(({ pendingBytes }) => pendingBytes === 0)).toBe(true)
  })
})
