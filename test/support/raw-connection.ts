// A PostgreSQL connection of the tests: a socket and a parser of its own, on purpose not wire/, so
// that a mistake in our codec shows as a difference instead of cancelling itself out.
import { connect, type Socket } from 'node:net'

/** Where to connect and as whom; both sides of a comparison have one. */
export type Endpoint = {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
  readonly database: string
}

/** One message of the server: its type letter and all its bytes, header included. */
export type ServerMessage = { readonly code: string; readonly bytes: Buffer }

/** What `next` gives: a message, the end of the connection, or nothing until the deadline. */
export type Arrival = ServerMessage | 'closed' | 'timeout'

/** A connected socket whose server messages are read one by one. Nothing is sent by itself. */
export class RawConnection {
  readonly #socket: Socket
  readonly #messages: ServerMessage[] = []
  #taken = 0
  #chunks: Buffer[] = []
  #chunkBytes = 0
  #wantedBytes = 5
  #closed = false
  #wake: (() => void) | undefined
  /** Sees every chunk as it arrives; the fuzz test looks there for other clients' answers. */
  onBytes: ((chunk: Buffer) => void) | undefined

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('error', () => this.#end())
    socket.on('close', () => this.#end())
  }

  /** @throws the socket's error when nobody listens there. */
  static open(endpoint: Pick<Endpoint, 'host' | 'port'>): Promise<RawConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: endpoint.host, port: endpoint.port })
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.off('error', reject)
        resolve(new RawConnection(socket))
      })
    })
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Bytes of a message whose end has not come. */
  get unfinishedBytes(): number {
    return this.#chunkBytes
  }

  /** One socket write; bytes for a connection that is gone are dropped, as the kernel would. */
  send(bytes: Uint8Array): void {
    if (!this.#closed && !this.#socket.writableEnded) this.#socket.write(bytes)
  }

  /** Writes `chunkBytes` at a time, each in an event-loop turn of its own. */
  async sendInChunks(bytes: Uint8Array, chunkBytes: number): Promise<void> {
    for (let at = 0; at < bytes.length; at += chunkBytes) {
      this.send(bytes.subarray(at, at + chunkBytes))
      await new Promise<void>((resolve) => setImmediate(resolve))
    }
  }

  /** The next message in order; 'closed' once all messages before the end were given. */
  async next(deadlineMs: number): Promise<Arrival> {
    const timeAtMs = performance.now() + deadlineMs
    for (;;) {
      const message = this.#messages[this.#taken]
      if (message !== undefined) {
        this.#taken += 1
        return message
      }
      if (this.#closed) return 'closed'
      const leftMs = timeAtMs - performance.now()
      if (leftMs <= 0) return 'timeout'
      await this.#somethingHappens(leftMs)
    }
  }

  /** Nothing is read any more until `resume`: what the other side sends fills the buffers on the way. */
  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  /** Half-closes: the server sees the end of the client's bytes and may still answer. */
  finish(): void {
    this.#socket.end()
  }

  /** Drops the connection at once; harmless when it is closed already. */
  destroy(): void {
    this.#socket.destroy()
    this.#end()
  }

  /** The same by RST, as when the other machine has forgotten the connection. */
  reset(): void {
    this.#socket.resetAndDestroy()
    this.#end()
  }

  #somethingHappens(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  #receive(chunk: Buffer): void {
    this.onBytes?.(chunk)
    this.#chunks.push(chunk)
    this.#chunkBytes += chunk.length
    if (this.#chunkBytes < this.#wantedBytes) return
    const bytes = Buffer.concat(this.#chunks)
    let at = 0
    this.#wantedBytes = 5
    while (bytes.length - at >= 5) {
      const length = bytes.readInt32BE(at + 1)
      if (length < 4) return this.#breakOff(bytes.subarray(at))
      if (at + 1 + length > bytes.length) {
        this.#wantedBytes = 1 + length
        break
      }
      const message = bytes.subarray(at, at + 1 + length)
      this.#messages.push({ code: String.fromCharCode(message.readUInt8(0)), bytes: message })
      at += 1 + length
    }
    this.#chunks = [bytes.subarray(at)]
    this.#chunkBytes = bytes.length - at
    this.#wakeUp()
  }

  /** What cannot be a message is handed on as one of type `!`: no conversation expects it. */
  #breakOff(bytes: Buffer): void {
    this.#messages.push({ code: '!', bytes })
    this.destroy()
  }

  #end(): void {
    this.#closed = true
    this.#wakeUp()
  }

  #wakeUp(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }
}
