// Reading accepted sockets into one shared buffer: this Node allows it, and what is read stays right.
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { expect, it } from 'vitest'
import { ClientSockets } from '../../proxy/client-socket.ts'

/** An adopting server that echoes, and a client of it. */
async function withEcho(
  sockets: ClientSockets,
  use: (client: Socket, adopted: Socket) => Promise<void>,
) {
  const server = createServer({ pauseOnConnect: true, noDelay: true })
  const adopted = new Promise<Socket>((resolve) => {
    server.on('connection', (accepted) => {
      const received = (chunk: Uint8Array) => void socket.write(Buffer.from(chunk))
      const socket = sockets.adopt(accepted, { received })
      socket.on('end', () => socket.end())
      resolve(socket)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect(portOf(server.address()), '127.0.0.1')
  try {
    await use(client, await adopted)
  } finally {
    client.destroy()
    server.close()
  }
}

function portOf(address: ReturnType<ReturnType<typeof createServer>['address']>): number {
  return typeof address === 'object' && address !== null ? address.port : 0
}

it('is what this Node allows', async () => {
  expect((await ClientSockets.open(1024)).shares).toBe(true)
})

it.each([
  ['a shared buffer', () => ClientSockets.open(4 * 1024)],
  ['events', () => Promise.resolve(ClientSockets.byEvents)],
] as const)('by %s gives every byte once, in order, and the end', async (_, open) => {
  await withEcho(await open(), async (client, adopted) => {
    expect(adopted.remoteAddress).toBe('127.0.0.1')
    const sent = Buffer.alloc(300_000, 'every byte of it ')
    const back: Buffer[] = []
    client.on('data', (chunk) => back.push(chunk))
    client.end(sent)
    await once(client, 'end')
    expect(Buffer.concat(back).equals(sent)).toBe(true)
  })
})

it('reads nothing while it is paused', async () => {
  await withEcho(await ClientSockets.open(4 * 1024), async (client, adopted) => {
    adopted.pause()
    let heard = ''
    client.on('data', (chunk) => (heard += String(chunk)))
    client.write('waits')
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(heard).toBe('')
    adopted.resume()
    await once(client, 'data')
    expect(heard).toBe('waits')
  })
})
