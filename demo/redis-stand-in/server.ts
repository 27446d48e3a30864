// A small server that speaks Redis' protocol, for where no redis-server is installed: one process, memory only, gone
// with the process that started it. It has what Ringfence asks of Redis and little more.
import { randomBytes } from 'node:crypto'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { type CommandContext, runCommand } from './commands.ts'
import { Keyspace, wallClockMs } from './keyspace.ts'
import {
  CommandParser,
  encodeReply,
  ProtocolError,
  type ProtocolVersion,
  type Reply,
} from './resp.ts'

const databaseCount = 16
const connectionsMax = 10_000
/** A client that reads so much more slowly than it asks is cut off. */
const unreadBytesMax = 64 * 1024 * 1024
const sweepMs = 10_000

/** Listens on 127.0.0.1 until stop(). */
export class RedisStandIn {
  readonly #server: Server
  readonly #connections = new Set<Connection>()
  readonly #shared: CommandContext['server']
  #nextId = 1
  #sweeper: NodeJS.Timeout | undefined

  /** Empty, and with a run id of its own. */
  constructor() {
    this.#shared = {
      runId: randomBytes(20).toString('hex'),
      startedAtMs: wallClockMs(),
      databases: Array.from({ length: databaseCount }, () => new Keyspace()),
      loadedScripts: new Set(),
      publish: (channel, message) => this.#publish(channel, message),
    }
    this.#server = createServer({ noDelay: true }, (socket) => this.#accept(socket))
    this.#server.maxConnections = connectionsMax
  }

  /** Of what it listens on, once start() has resolved. */
  get port(): number {
    const address: AddressInfo | string | null = this.#server.address()
    return typeof address === 'object' ? (address?.port ?? 0) : 0
  }

  /** `port` 0: any free one. @throws Error when it is taken. */
  start(port: number): Promise<void> {
    this.#sweeper = setInterval(() => this.#sweep(), sweepMs).unref()
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ host: '127.0.0.1', port }, () => {
        this.#server.off('error', reject)
        resolve()
      })
    })
  }

  /** Cuts every connection, as the death of a server does. */
  async stop(): Promise<void> {
    clearInterval(this.#sweeper)
    for (const { socket } of this.#connections) socket.destroy()
    if (!this.#server.listening) return
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #accept(socket: Socket): void {
    const connection = new Connection(this.#nextId, socket)
    const parser = new CommandParser()
    this.#nextId += 1
    this.#connections.add(connection)
    socket.on('data', (chunk: Buffer) => {
      this.#serve(connection, parser, chunk)
      connection.flush()
    })
    socket.on('error', () => socket.destroy())
    socket.on('close', () => this.#connections.delete(connection))
  }

  #serve(connection: Connection, parser: CommandParser, chunk: Buffer): void {
    const context: CommandContext = { server: this.#shared, connection }
    try {
      parser.feed(chunk)
      while (!connection.ended) {
        const words = parser.next()
        if (words === undefined) return
        const reply = runCommand(words, context)
        if (reply !== undefined) connection.send(reply)
      }
    } catch (thrown) {
      if (!(thrown instanceof ProtocolError)) throw thrown
      connection.send({ error: `ERR Protocol error: ${thrown.message}` })
      connection.end()
    }
  }

  #publish(channel: string, message: string): number {
    const receivers = [...this.#connections].filter(({ channels }) => channels.has(channel))
    const pushed: Reply = { pushed: ['message', channel, message] }
    for (const receiver of receivers) {
      receiver.send(pushed)
      // The publisher may be its own subscriber: its replies keep their order.
      receiver.flush()
    }
    return receivers.length
  }

  #sweep(): void {
    for (const keyspace of this.#shared.databases) keyspace.sweep()
  }
}

/** A client; what the replies to one chunk of commands amount to goes out in one write. */
class Connection {
  readonly id: number
  readonly socket: Socket
  readonly channels = new Set<string>()
  version: ProtocolVersion = 2
  database = 0
  name = ''
  ended = false
  #out = ''

  constructor(id: number, socket: Socket) {
    this.id = id
    this.socket = socket
  }

  send(reply: Reply): void {
    this.#out += encodeReply(reply, this.version)
  }

  end(): void {
    this.ended = true
  }

  flush(): void {
    const bytes = Buffer.from(this.#out, 'latin1')
    this.#out = ''
    if (this.socket.writableEnded) return
    if (this.ended) this.socket.end(bytes)
    else if (bytes.length > 0) this.socket.write(bytes)
    if (this.socket.writableLength > unreadBytesMax) this.socket.destroy()
  }
}
