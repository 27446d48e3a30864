// A server that says what the test wants, byte by byte, where PostgreSQL itself would have to be struck in the very
// moment between two messages. It lets everybody in, and takes the next of its answers for each request.
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { frontendMessage } from './frontend-bytes.ts'

/** Answer to one request, which ends with Query or Sync; `hangUp` ends the connection behind it. */
export type ScriptedAnswer = { readonly bytes: Buffer; readonly hangUp: boolean }

const text = (value: string) => Buffer.concat([Buffer.from(value), Buffer.alloc(1)])
const ready = frontendMessage('Z', Buffer.from('I'))
const welcome = Buffer.concat([
  frontendMessage('R', Buffer.alloc(4)),
  frontendMessage('S', text('server_version'), text('18.0')),
  frontendMessage('K', Buffer.alloc(8)),
  ready,
])

/** RowDescription of text columns. */
export function headerBytes(...columns: readonly string[]): Buffer {
  const count = Buffer.alloc(2)
  count.writeInt16BE(columns.length)
  const described = columns.map((name) => {
    const rest = Buffer.alloc(18)
    rest.writeInt32BE(25, 6)
    rest.writeInt16BE(-1, 10)
    rest.writeInt32BE(-1, 12)
    return Buffer.concat([text(name), rest])
  })
  return frontendMessage('T', count, ...described)
}

/** DataRow of texts. */
export function rowBytes(...values: readonly string[]): Buffer {
  const count = Buffer.alloc(2)
  count.writeInt16BE(values.length)
  const fields = values.map((value) => {
    const length = Buffer.alloc(4)
    length.writeInt32BE(Buffer.byteLength(value))
    return Buffer.concat([length, Buffer.from(value)])
  })
  return frontendMessage('D', count, ...fields)
}

/** ParseComplete and BindComplete. */
export const takenBytes = Buffer.concat([frontendMessage('1'), frontendMessage('2')])

/** CommandComplete and ReadyForQuery. */
export const completeBytes = Buffer.concat([frontendMessage('C', text('SELECT 1')), ready])

export class ScriptedServer {
  /** One for each request to come, in order, over whichever connection. */
  readonly answers: ScriptedAnswer[] = []
  readonly #sockets = new Set<Socket>()
  #server: Server | null = null
  #port = 0

  get port(): number {
    return this.#port
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#sockets.size
  }

  /** Listens, at the same port as before if it did. */
  async listen(): Promise<void> {
    const server = createServer((socket) => this.#accept(socket))
    await new Promise<void>((resolve) => server.listen(this.#port, '127.0.0.1', resolve))
    this.#port = (server.address() as AddressInfo).port
    this.#server = server
  }

  /** Nobody is let in any more; connections that are open go on. */
  stopListening(): void {
    this.#server?.close()
    this.#server = null
  }

  close(): void {
    this.stopListening()
    for (const socket of this.#sockets) socket.destroy()
  }

  #accept(socket: Socket): void {
    let unread: Buffer = Buffer.alloc(0)
    let greeted = false
    this.#sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => this.#sockets.delete(socket))
    socket.on('data', (chunk: Buffer) => {
      unread = Buffer.concat([unread, chunk])
      for (;;) {
        const head = greeted ? 1 : 0
        if (unread.length < head + 4) return
        const end = head + unread.readInt32BE(head)
        if (unread.length < end) return
        const code = greeted ? unread.toString('latin1', 0, 1) : ''
        unread = unread.subarray(end)
        if (!greeted) socket.write(welcome)
        greeted = true
        if (code === 'Q' || code === 'S') this.#answer(socket)
      }
    })
  }

  #answer(socket: Socket): void {
    const { bytes, hangUp } = this.answers.shift() ?? { bytes: Buffer.alloc(0), hangUp: true }
    if (hangUp) socket.end(bytes)
    else socket.write(bytes)
  }
}
