// A way to a server that can be broken: cut (connections are reset, new ones refused) or swallowing (they stay, and
// nothing arrives any more), for one client while others still get through.
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

type RelayMode = 'open' | 'cut' | 'swallow'

export class Relay {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #mode: RelayMode = 'open'
  #targetPort: number

  private constructor(targetPort: number) {
    this.#targetPort = targetPort
    this.#server = createServer((client) => this.#accept(client))
  }

  static async start(targetPort: number): Promise<Relay> {
    const relay = new Relay(targetPort)
    await new Promise<void>((resolve) => relay.#server.listen(0, '127.0.0.1', resolve))
    return relay
  }

  get port(): number {
    const address: AddressInfo | string | null = this.#server.address()
    return typeof address === 'object' ? (address?.port ?? 0) : 0
  }

  /** What was swallowed never arrives: reopened, such connections are reset. */
  set mode(mode: RelayMode) {
    if (mode === 'cut' || this.#mode === 'swallow') this.#reset()
    this.#mode = mode
  }

  /** Leads elsewhere from now on, as after a failover. */
  set targetPort(port: number) {
    this.#targetPort = port
    this.#reset()
  }

  async close(): Promise<void> {
    this.#reset()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #accept(client: Socket): void {
    this.#adopt(client)
    if (this.#mode === 'cut') {
      client.resetAndDestroy()
      return
    }
    const server = connect({ port: this.#targetPort, host: '127.0.0.1', noDelay: true })
    this.#adopt(server)
    client.setNoDelay(true)
    this.#forward(client, server)
    this.#forward(server, client)
  }

  #forward(from: Socket, to: Socket): void {
    from.on('data', (chunk: Buffer) => {
      if (this.#mode === 'open' && to.writable) to.write(chunk)
    })
    from.on('close', () => to.destroy())
  }

  #adopt(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => this.#sockets.delete(socket))
  }

  #reset(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }
}
