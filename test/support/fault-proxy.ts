// A TCP relay between two ends that can be told to misbehave, as networks do: slow, silent, in one direction only,
// with resets, or not there at all. Faults apply to connections that are open already as well as to new ones.
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

type Direction = 'toServer' | 'toClient'

export type Fault =
  | { readonly kind: 'none' }
  /** Every chunk is late by `ms` and up to `jitterMs` more; the order stays. */
  | { readonly kind: 'latency'; readonly ms: number; readonly jitterMs: number }
  /** Bytes are swallowed in both directions and never delivered, nobody is told. */
  | { readonly kind: 'blackHole' }
  /** Bytes of one direction are swallowed. */
  | { readonly kind: 'oneWay'; readonly swallowed: Direction }
  /** Open connections end with RST, and so does every new one. */
  | { readonly kind: 'reset' }
  /** Open connections end, and nobody listens. */
  | { readonly kind: 'refuse' }

export type FaultProxyTarget = { readonly host: string; readonly port: number }

/** A relay that listens on 127.0.0.1 until `close`. */
export type FaultProxy = {
  /** Stays the same, also while nobody listens. */
  readonly port: number
  /** Pairs of open sockets. */
  readonly connections: number
  /** Chunks that went through in that direction. */
  readonly delivered: Readonly<Record<Direction, number>>
  /**
   * Resolves when the fault is in force. What a black hole has swallowed is gone: connections that it touched are reset
   * when the fault ends, as a stream with a gap cannot go on.
   */
  set(fault: Fault): Promise<void>
  /** New connections go to another target. */
  retarget(target: FaultProxyTarget): void
  close(): Promise<void>
}

/** Starts a relay without faults to `target`. */
export async function startFaultProxy(target: FaultProxyTarget): Promise<FaultProxy> {
  const relay = new Relay(target)
  await relay.listen()
  return relay
}

/** Two sockets, and what is on the way between them. */
type Link = {
  readonly client: Socket
  readonly server: Socket
  /** Bytes of it were swallowed. */
  torn: boolean
}

class Relay implements FaultProxy {
  readonly delivered = { toServer: 0, toClient: 0 }
  readonly #links = new Set<Link>()
  #target: FaultProxyTarget
  #fault: Fault = { kind: 'none' }
  #server: Server | null = null
  #port = 0

  constructor(target: FaultProxyTarget) {
    this.#target = target
  }

  get port(): number {
    return this.#port
  }

  get connections(): number {
    return this.#links.size
  }

  retarget(target: FaultProxyTarget): void {
    this.#target = target
  }

  async set(fault: Fault): Promise<void> {
    this.#fault = fault
    const swallows = fault.kind === 'blackHole' || fault.kind === 'oneWay'
    for (const link of this.#links) {
      if (fault.kind === 'reset' || (link.torn && !swallows)) reset(link)
      else if (fault.kind === 'refuse') end(link)
    }
    if (fault.kind === 'refuse') await this.#stopListening()
    else await this.listen()
  }

  async close(): Promise<void> {
    for (const link of this.#links) end(link)
    await this.#stopListening()
  }

  listen(): Promise<void> {
    if (this.#server !== null) return Promise.resolve()
    const server = createServer({ allowHalfOpen: true }, (client) => this.#accept(client))
    this.#server = server
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.#port, '127.0.0.1', () => {
        this.#port = portOf(server)
        resolve()
      })
    })
  }

  async #stopListening(): Promise<void> {
    const server = this.#server
    this.#server = null
    if (server !== null) await new Promise((resolve) => server.close(resolve))
  }

  #accept(client: Socket): void {
    if (this.#fault.kind === 'reset') {
      client.resetAndDestroy()
      return
    }
    const server = connect({ ...this.#target, allowHalfOpen: true })
    const link = { client, server, torn: false }
    this.#links.add(link)
    this.#carry(link, 'toServer', client, server)
    this.#carry(link, 'toClient', server, client)
  }

  #carry(link: Link, direction: Direction, from: Socket, to: Socket): void {
    const line = new Delay()
    from.setNoDelay(true)
    from.on('data', (chunk) => {
      if (this.#swallows(direction)) {
        link.torn = true
        return
      }
      line.later(this.#delayMs(), () => {
        // A fault that came while the chunk was under way takes it too.
        if (this.#swallows(direction)) link.torn = true
        else if (to.writable) {
          this.delivered[direction] += 1
          // What the other end does not read yet is not read from this one either.
          if (!to.write(chunk)) {
            from.pause()
            to.once('drain', () => from.resume())
          }
        }
      })
    })
    from.on('end', () =>
      line.later(this.#delayMs(), () => {
        if (this.#swallows(direction)) link.torn = true
        else to.end()
      }),
    )
    from.on('error', (error: NodeJS.ErrnoException) => {
      if (this.#swallows(direction)) link.torn = true
      else if (error.code === 'ECONNRESET') to.resetAndDestroy()
      else to.destroy()
    })
    from.on('close', () => {
      line.clear()
      if (this.#swallows(direction)) {
        // The other end learns nothing of it until the fault is over.
        link.torn = true
        if (to.destroyed) this.#links.delete(link)
        return
      }
      if (!to.destroyed) to.destroySoon()
      this.#links.delete(link)
    })
  }

  #swallows(direction: Direction): boolean {
    if (this.#fault.kind === 'blackHole') return true
    return this.#fault.kind === 'oneWay' && this.#fault.swallowed === direction
  }

  #delayMs(): number {
    if (this.#fault.kind !== 'latency') return 0
    return this.#fault.ms + Math.random() * this.#fault.jitterMs
  }
}

/** Things that happen later, in the order in which they were asked for. */
class Delay {
  readonly #waiting: { readonly atMs: number; readonly happen: () => void }[] = []
  #timer: NodeJS.Timeout | null = null

  later(delayMs: number, happen: () => void): void {
    if (delayMs === 0 && this.#waiting.length === 0) {
      happen()
      return
    }
    const last = this.#waiting.at(-1)?.atMs ?? 0
    this.#waiting.push({ atMs: Math.max(performance.now() + delayMs, last), happen })
    this.#schedule()
  }

  clear(): void {
    this.#waiting.length = 0
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  /** One timer for the first of them: several timers of different lengths may fire out of order. */
  #schedule(): void {
    const [first] = this.#waiting
    if (first === undefined || this.#timer !== null) return
    this.#timer = setTimeout(() => this.#due(), Math.max(0, first.atMs - performance.now()))
  }

  #due(): void {
    this.#timer = null
    while ((this.#waiting[0]?.atMs ?? Number.POSITIVE_INFINITY) <= performance.now()) {
      this.#waiting.shift()?.happen()
    }
    this.#schedule()
  }
}

function reset({ client, server }: Link): void {
  client.resetAndDestroy()
  server.resetAndDestroy()
}

function end({ client, server }: Link): void {
  client.destroy()
  server.destroy()
}

function portOf(server: Server): number {
  const address: AddressInfo | string | null = server.address()
  return address === null || typeof address === 'string' ? 0 : address.port
}
