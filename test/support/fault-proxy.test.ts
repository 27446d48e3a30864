// The relay that misbehaves: each fault between a client and a server that echoes.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { pause, until } from './clients.ts'
import { type FaultProxy, startFaultProxy } from './fault-proxy.ts'

let echo: Server
let proxy: FaultProxy
let atServer: Socket[] = []
const clients: Client[] = []

/** What a client has heard so far, and how its connection ended. */
class Client {
  readonly socket: Socket
  heard = ''
  end: 'open' | 'FIN' | 'RST' = 'open'

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1' })
    this.socket.on('data', (chunk) => (this.heard += chunk.toString()))
    this.socket.on('end', () => (this.end = 'FIN'))
    this.socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNRESET') this.end = 'RST'
    })
    clients.push(this)
  }

  async says(text: string): Promise<void> {
    this.socket.write(text)
    await until(`the echo of ${text}`, () => this.heard.endsWith(text))
  }
}

async function client(): Promise<Client> {
  const opened = new Client(proxy.port)
  await once(opened.socket, 'connect')
  return opened
}

beforeEach(async () => {
  atServer = []
  echo = createServer((socket) => {
    atServer.push(socket)
    socket.on('error', () => undefined)
    socket.pipe(socket)
  })
  echo.listen(0, '127.0.0.1')
  await once(echo, 'listening')
  const { port } = echo.address() as AddressInfo
  proxy = await startFaultProxy({ host: '127.0.0.1', port })
})

afterEach(async () => {
  for (const { socket } of clients.splice(0)) socket.destroy()
  for (const socket of atServer) socket.destroy()
  await proxy.close()
  echo.close()
})

describe('a relay', () => {
  it('passes bytes both ways, and the end of either side', async () => {
    const one = await client()
    await one.says('hello')
    expect(proxy.connections).toBe(1)
    one.socket.end('last')
    await until('the end', () => one.end === 'FIN')
    expect(one.heard).toBe('hellolast')
    await until('nothing is open', () => proxy.connections === 0)
  })

  it('passes a reset of the server on', async () => {
    const one = await client()
    await one.says('hello')
    atServer[0]?.resetAndDestroy()
    await until('the reset', () => one.end === 'RST')
    expect(proxy.connections).toBe(0)
  })

  it('keeps every byte when the reader is slow', async () => {
    const one = await client()
    one.socket.pause()
    const bytes = Buffer.alloc(8_000_000, 'x')
    one.socket.write(bytes)
    await pause(50)
    one.socket.resume()
    await until('everything came back', () => one.heard.length >= bytes.length)
    expect(one.heard).toHaveLength(bytes.length)
  })

  it('is late by its latency and keeps the order', async () => {
    const one = await client()
    await proxy.set({ kind: 'latency', ms: 30, jitterMs: 20 })
    const startMs = performance.now()
    for (const word of ['a', 'b', 'c', 'd', 'e']) {
      one.socket.write(word)
      await pause(3)
    }
    await until('the echo', () => one.heard.length === 5)
    expect(performance.now() - startMs).toBeGreaterThan(57)
    expect(one.heard).toBe('abcde')
  })

  it('swallows what goes into a black hole, without a word to anybody', async () => {
    const one = await client()
    await one.says('before')
    await proxy.set({ kind: 'blackHole' })
    one.socket.write('lost')
    const late = await client()
    late.socket.write('lost too')
    await pause(50)
    expect([one.heard, one.end, late.heard, late.end]).toEqual(['before', 'open', '', 'open'])
    // A stream with a gap cannot go on.
    await proxy.set({ kind: 'none' })
    await until('the torn connections end', () => one.end === 'RST' && late.end === 'RST')
    await (await client()).says('after')
  })

  it('lets connections go on that nothing was said on in the black hole', async () => {
    const one = await client()
    await one.says('before')
    await proxy.set({ kind: 'blackHole' })
    await proxy.set({ kind: 'none' })
    await one.says('after')
    expect(one.heard).toBe('beforeafter')
  })

  it('tells nobody in a black hole that the other side has gone', async () => {
    const one = await client()
    await one.says('before')
    await proxy.set({ kind: 'blackHole' })
    atServer[0]?.destroy()
    await pause(50)
    expect(one.end).toBe('open')
    await proxy.set({ kind: 'none' })
    await until('it learns it afterwards', () => one.end !== 'open')
  })

  it.each(['toServer', 'toClient'] as const)('swallows only what goes %s', async (swallowed) => {
    const one = await client()
    await one.says('before')
    let reached = ''
    atServer[0]?.on('data', (chunk) => (reached += chunk.toString()))
    await proxy.set({ kind: 'oneWay', swallowed })
    one.socket.write('x')
    await pause(50)
    expect(one.heard).toBe('before')
    expect(reached).toBe(swallowed === 'toServer' ? '' : 'x')
  })

  it('resets what is open and what comes', async () => {
    const one = await client()
    await one.says('before')
    await proxy.set({ kind: 'reset' })
    await until('the reset', () => one.end === 'RST')
    const late = new Client(proxy.port)
    await until('the other reset', () => late.end === 'RST')
    await proxy.set({ kind: 'none' })
    await (await client()).says('after')
    expect(proxy.connections).toBe(1)
  })

  it('listens on the same port again after it has refused', async () => {
    const one = await client()
    await one.says('before')
    const { port } = proxy
    await proxy.set({ kind: 'refuse' })
    await until('the end', () => one.socket.destroyed)
    const refused = connect({ port, host: '127.0.0.1' })
    const [error] = await once(refused, 'error')
    expect(error).toMatchObject({ code: 'ECONNREFUSED' })
    await proxy.set({ kind: 'none' })
    expect(proxy.port).toBe(port)
    await (await client()).says('after')
  })

  it('ends connections when its target refuses them', async () => {
    const free = createServer()
    free.listen(0, '127.0.0.1')
    await once(free, 'listening')
    const { port } = free.address() as AddressInfo
    free.close()
    proxy.retarget({ host: '127.0.0.1', port })
    const one = new Client(proxy.port)
    await until('the end', () => one.socket.destroyed)
    await until('nothing is open', () => proxy.connections === 0)
    expect(one.heard).toBe('')
  })
})
