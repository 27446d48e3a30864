// The sockets on which clients are accepted: one per address, and a Unix socket. What is accepted is handed on at once.
import { createServer, type ListenOptions as Where, type Server, type Socket } from 'node:net'
import type { Log } from '../core/log.ts'
import { descriptorOf } from './descriptor.ts'
import {
  adoptUnixSocket,
  bindUnixSocket,
  type UnixSocket,
  type UnixSocketOptions,
} from './unix-socket.ts'

export type ListenOptions = {
  /** One address or several. */
  readonly host: string | readonly string[]
  /** 0: one that is free, the same on all addresses. */
  readonly port: number
  /** Connections that wait to be accepted; absent: the system's own. */
  readonly backlog?: number
  /** Silence after which the client's machine is probed, 0: never; absent: the system's own two hours. */
  readonly keepAliveMs?: number
  /** Several processes share the port (SO_REUSEPORT). */
  readonly reusePort?: boolean
  readonly unixSocket?: UnixSocketOptions | null
  /** Descriptors of bound sockets that are listened on in place of `host`, `port` and `unixSocket`; absent: none. */
  readonly inherited?: InheritedSockets | null
}

type InheritedSockets = {
  readonly tcp: readonly number[]
  readonly port: number
  readonly unix: number | null
}

/** How a connection has come: whom TLS rules and rules for addresses are for, and whom not. */
export type Way = 'tcp' | 'unix'

/** Takes over an accepted connection, which is not read yet; one of `tcp` has a remote address. */
export type Accept = (socket: Socket, way: Way) => void

export class Listener {
  readonly #servers: Server[] = []
  #unixServer: Server | null = null
  readonly #accept: Accept
  readonly #log: Log
  #unix: UnixSocket | null = null
  #port = 0

  private constructor(accept: Accept, log: Log) {
    this.#accept = accept
    this.#log = log
  }

  /** Listens on all addresses, or on none. @throws the system's error, or that of bindUnixSocket */
  static async open(options: ListenOptions, accept: Accept, log: Log): Promise<Listener> {
    const listener = new Listener(accept, log)
    try {
      await listener.#open(options)
      return listener
    } catch (error) {
      listener.close()
      throw error
    }
  }

  /** TCP port; with port 0 the one that was free. */
  get port(): number {
    return this.#port
  }

  /** For a process that takes the place of this one. */
  get descriptors(): { readonly tcp: readonly number[]; readonly unix: number | null } {
    const tcp = this.#servers.filter((server) => server !== this.#unixServer)
    return {
      tcp: tcp.map(descriptorOf).filter((fd) => fd !== null),
      unix: this.#unixServer === null ? null : descriptorOf(this.#unixServer),
    }
  }

  /** The Unix socket that was inherited is this process's own from now on: its name goes with this process. */
  adopt({ unixSocket = null }: ListenOptions): void {
    if (unixSocket === null || this.#unixServer === null || this.#unix !== null) return
    this.#unix = adoptUnixSocket(unixSocket, this.#port)
  }

  /** No further connections; those that were accepted stay. May be called again. */
  close(): void {
    for (const server of this.#servers) server.close()
    this.#unix?.close()
    this.#unix = null
  }

  async #open(options: ListenOptions): Promise<void> {
    const { host, reusePort = false, unixSocket = null, inherited = null } = options
    const backlog = options.backlog === undefined ? {} : { backlog: options.backlog }
    if (inherited !== null) return await this.#inherit(inherited, options)
    this.#port = options.port
    for (const address of typeof host === 'string' ? [host] : host) {
      const server = this.#tcpServer(options)
      await this.#listen(server, { ...backlog, host: address, port: this.#port, reusePort })
      this.#port = portOf(server)
    }
    if (unixSocket === null) return
    const server = this.#newUnixServer()
    this.#unix = await bindUnixSocket(unixSocket, this.#port, (path) =>
      this.#listen(server, { ...backlog, path }),
    )
  }

  async #inherit({ tcp, port, unix }: InheritedSockets, options: ListenOptions): Promise<void> {
    this.#port = port
    for (const fd of tcp) await this.#listen(this.#tcpServer(options), { fd })
    if (unix !== null) await this.#listen(this.#newUnixServer(), { fd: unix })
  }

  #tcpServer({ keepAliveMs }: ListenOptions): Server {
    const keepAlive = { keepAlive: keepAliveMs !== 0, keepAliveInitialDelay: keepAliveMs ?? 0 }
    const server = createServer({ noDelay: true, pauseOnConnect: true, ...keepAlive }, (socket) => {
      // One that has been reset has no address any more, but what it has sent could still be read: it must not pass
      // for a client of the Unix socket.
      if (socket.remoteAddress === undefined) socket.destroy()
      else this.#accept(socket, 'tcp')
    })
    return this.#keep(server)
  }

  #newUnixServer(): Server {
    this.#unixServer = createServer((socket) => this.#accept(socket, 'unix'))
    return this.#keep(this.#unixServer)
  }

  #keep(server: Server): Server {
    this.#servers.push(server)
    return server
  }

  /** @throws the system's error */
  async #listen(server: Server, where: Where | { readonly fd: number }): Promise<void> {
    await listenOn(server, where)
    server.on('error', (error) => this.#log.error({ error }, 'listener failed'))
  }
}

/** @throws the system's error */
function listenOn(server: Server, where: Where | { readonly fd: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(where, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

function portOf(server: Server): number {
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}
