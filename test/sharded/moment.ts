// A relay in front of one server, at which a test can do something at an exact moment of the
// proxy's conversation with it: before some bytes reach the server, or once it has answered them.
import { connect, createServer, type Server, type Socket } from 'node:net'

/** When `action` runs; the connection it happens on is cut afterwards. */
export type Moment = {
  /** Of the proxy's bytes. */
  readonly text: string
  readonly when: 'before' | 'answered'
  readonly action: () => Promise<void>
}

export class Relay {
  readonly #server: Server
  readonly #targetPort: () => number
  readonly #sockets = new Set<Socket>()
  #moment: Moment | null = null

  private constructor(targetPort: () => number) {
    this.#targetPort = targetPort
    this.#server = createServer((client) => this.#join(client))
  }

  /** Listens on a free port of 127.0.0.1. */
  static async open(targetPort: () => number): Promise<Relay> {
    const relay = new Relay(targetPort)
    await new Promise<void>((resolve) => relay.#server.listen(0, '127.0.0.1', resolve))
    return relay
  }

  get port(): number {
    const address = this.#server.address()
    return address === null || typeof address === 'string' ? 0 : address.port
  }

  /** Waits for the next moment of that kind; an earlier one that has not come is forgotten. */
  expect(moment: Moment): void {
    this.#moment = moment
  }

  /** Ends every connection, as the proxy’s death would. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async close(): Promise<void> {
    this.cut()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #join(client: Socket): void {
    const server = connect({ host: '127.0.0.1', port: this.#targetPort() })
    let answered: Moment | null = null
    const end = () => {
      for (const socket of [client, server]) {
        socket.destroy()
        this.#sockets.delete(socket)
      }
    }
    for (const socket of [client, server]) {
      this.#sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', end)
      socket.on('close', end)
    }
    const happen = ({ action }: Moment) => void action().finally(end)
    client.on('data', (chunk) => {
      const moment = this.#moment
      if (moment === null || !chunk.includes(moment.text)) {
        server.write(chunk)
        return
      }
      this.#moment = null
      if (moment.when === 'before') return happen(moment)
      answered = moment
      server.write(chunk)
    })
    server.on('data', (chunk) => {
      if (answered === null) client.write(chunk)
      else happen(answered)
      answered = null
    })
  }
}
