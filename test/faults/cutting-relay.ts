// A TCP relay that breaks one connection off after an exact number of bytes in one direction, as a process that dies in
// the middle of a message does. All other connections go through untouched.
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

/** `up`: from who has dialled; `down`: back to it. */
export type Direction = 'up' | 'down'

/** Cuts the first connection that is heard of, `up`, from now on; `fresh`: of those that begin from now on. */
export type Cut = {
  readonly direction: Direction
  /** Delivered in that direction, counted from now on, before the end. */
  readonly bytes: number
  /** Ends by RST instead of FIN. */
  readonly reset: boolean
  readonly fresh: boolean
}

type Link = { readonly client: Socket; readonly server: Socket; readonly number: number }

export class CuttingRelay {
  readonly #target: { readonly host: string; readonly port: number }
  readonly #links = new Set<Link>()
  #server: Server | null = null
  #cut: Cut | null = null
  #victim: Link | null = null
  #accepted = 0
  #firstNumber = 0
  #left = 0
  #recorded: Buffer[] | null = null
  #recordedDirection: Direction = 'down'

  constructor(target: { readonly host: string; readonly port: number }) {
    this.#target = target
  }

  get port(): number {
    const address = this.#server?.address() ?? null
    return isTcp(address) ? address.port : 0
  }

  /** True while a cut has been ordered that has not happened yet. */
  get armed(): boolean {
    return this.#cut !== null
  }

  async listen(): Promise<void> {
    const server = createServer({ allowHalfOpen: true }, (client) => this.#accept(client))
    this.#server = server
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  }

  async close(): Promise<void> {
    for (const link of this.#links) end(link, false)
    const server = this.#server
    if (server !== null) await new Promise((resolve) => server.close(resolve))
  }

  arm(cut: Cut): void {
    this.#victim = null
    this.#firstNumber = cut.fresh ? this.#accepted : 0
    this.#left = cut.bytes
    this.#cut = cut
  }

  disarm(): void {
    this.#cut = null
    this.#victim = null
  }

  /** Keeps what such a connection says in `direction`, until `recorded`. */
  record(direction: Direction, fresh: boolean): void {
    this.#victim = null
    this.#firstNumber = fresh ? this.#accepted : 0
    this.#recorded = []
    this.#recordedDirection = direction
  }

  recorded(): Buffer {
    const bytes = Buffer.concat(this.#recorded ?? [])
    this.#recorded = null
    this.#victim = null
    return bytes
  }

  #accept(client: Socket): void {
    const server = connect({ ...this.#target, allowHalfOpen: true })
    const link = { client, server, number: this.#accepted }
    this.#accepted += 1
    this.#links.add(link)
    client.setNoDelay(true)
    server.setNoDelay(true)
    this.#pipe(link, 'up')
    this.#pipe(link, 'down')
  }

  #pipe(link: Link, direction: Direction): void {
    const [from, to] = direction === 'up' ? [link.client, link.server] : [link.server, link.client]
    from.on('data', (chunk: Buffer) => this.#deliver(link, direction, chunk))
    from.on('end', () => to.end())
    from.on('error', () => end(link, false))
    from.on('close', () => {
      this.#links.delete(link)
      end(link, false)
    })
  }

  #deliver(link: Link, direction: Direction, chunk: Buffer): void {
    const to = direction === 'up' ? link.server : link.client
    const watching = this.#cut !== null || this.#recorded !== null
    if (watching && direction === 'up' && link.number >= this.#firstNumber) this.#victim ??= link
    if (this.#victim === link && this.#recorded !== null) {
      if (direction === this.#recordedDirection) this.#recorded.push(chunk)
    }
    const cut = this.#cut
    if (cut === null || this.#victim !== link || cut.direction !== direction) {
      // The other direction of a connection that is to end before its first byte.
      if (cut !== null && this.#victim === link && cut.bytes === 0) return this.#carryOut(link, cut)
      to.write(chunk)
      return
    }
    if (chunk.length < this.#left) {
      this.#left -= chunk.length
      to.write(chunk)
      return
    }
    to.write(chunk.subarray(0, this.#left), () => this.#carryOut(link, cut))
    link.server.pause()
    link.client.pause()
  }

  #carryOut(link: Link, cut: Cut): void {
    if (this.#cut === cut) this.disarm()
    end(link, cut.reset)
  }
}

function end({ client, server }: Link, reset: boolean): void {
  for (const socket of [client, server]) {
    if (reset && !socket.destroyed) socket.resetAndDestroy()
    else socket.destroy()
  }
}

function isTcp(address: AddressInfo | string | null): address is AddressInfo {
  return typeof address === 'object' && address !== null
}
