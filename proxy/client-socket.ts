// Reading accepted sockets into one buffer that all of them share, as dialled sockets do: without it Node makes a Buffer and
// runs a stream for every read, which costs half of a pooler's own CPU time. Node has no public option for that on the
// accepting side, so the handle of the accepted socket is moved into a new one; whether this Node still allows that is
// tried once at the start, and if it does not, sockets are read by events.
import { once } from 'node:events'
import {
  connect,
  createServer,
  type AddressInfo,
  Socket,
  type SocketConstructorOpts,
} from 'node:net'
import { Views } from '../wire/views.ts'

/** Who takes the bytes of a socket; each chunk is valid until the call returns. */
type Taker = { received(chunk: Uint8Array): void }

const trialMs = 2_000

/** Takes over accepted sockets that were accepted with `pauseOnConnect`. */
export class ClientSockets {
  /** Read by events. */
  static readonly byEvents = new ClientSockets(null)
  readonly #views: Views | null

  private constructor(views: Views | null) {
    this.#views = views
  }

  /** Reads into a buffer of so many bytes if Node lets us, which is tried; else by events. */
  static async open(bufferBytes: number): Promise<ClientSockets> {
    const shared = new ClientSockets(new Views(Buffer.allocUnsafeSlow(bufferBytes)))
    return (await works(shared)) ? shared : ClientSockets.byEvents
  }

  /** True when one buffer is shared. */
  get shares(): boolean {
    return this.#views !== null
  }

  /**
   * The socket to use in place of `accepted`. It reads at once: `taker` may be called from the next turn of the event loop
   * on.
   */
  adopt(accepted: Socket, taker: Taker): Socket {
    const views = this.#views
    const handle: unknown = Reflect.get(accepted, '_handle')
    if (views === null || typeof handle !== 'object' || handle === null) {
      accepted.on('data', (chunk) => taker.received(chunk))
      accepted.resume()
      return accepted
    }
    Reflect.set(accepted, '_handle', null)
    const onread = {
      buffer: views.buffer,
      callback: (count: number) => {
        taker.received(views.first(count))
        return true
      },
    }
    const options: SocketConstructorOpts = { onread }
    return new Socket(Object.assign(options, { handle }))
  }
}

/** Sends some bytes there and back through an adopted socket, with a pause of reading in between. */
async function works(sockets: ClientSockets): Promise<boolean> {
  const server = createServer({ pauseOnConnect: true })
  let adopted: Socket | null = null
  server.on('connection', (accepted) => {
    const socket = sockets.adopt(accepted, {
      received: (chunk) => {
        socket.write(chunk)
        socket.pause()
        setImmediate(() => socket.resume())
      },
    })
    adopted = socket
    socket.on('error', () => socket.destroy())
  })
  server.listen(0, '127.0.0.1')
  let client: Socket | null = null
  try {
    await once(server, 'listening', { signal: AbortSignal.timeout(trialMs) })
    const address = server.address()
    if (!isTcp(address)) return false
    client = connect(address.port, address.address)
    for (const word of ['there', 'and back']) {
      client.write(word)
      const [echo] = await once(client, 'data', { signal: AbortSignal.timeout(trialMs) })
      if (String(echo) !== word) return false
    }
    return true
  } catch {
    return false
  } finally {
    client?.destroy()
    destroy(adopted)
    server.close()
  }
}

function isTcp(address: AddressInfo | string | null): address is AddressInfo {
  return typeof address === 'object' && address !== null
}

function destroy(socket: Socket | null): void {
  socket?.destroy()
}
