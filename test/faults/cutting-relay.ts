// A TCP relay that breaks one connection off at an exact place in one direction, as a process that dies in
// the middle of a message does, or has the server process killed there. All other connections go through untouched.
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { type Mark, processIdIn } from './mark.ts'

/** `up`: from who has dialled; `down`: back to it. */
export type Direction = 'up' | 'down'

/** Cuts the first connection that is heard of, `up`, from now on; `fresh`: of those that begin from now on. */
export type Cut = {
  readonly direction: Direction
  /** What comes before it is delivered in that direction, counted from now on. */
  readonly mark: Mark
  readonly end: End
  readonly fresh: boolean
}

/**
 * `fin`, `rst`: the relay ends the connection; `kill`: `signal` is called with the number of the server's process, after
 * `afterMs`, and the connection ends with it. Unless `wholly`, what lies behind the mark is not delivered.
 */
type End =
  | { readonly kind: 'fin' | 'rst' }
  | {
      readonly kind: 'kill'
      readonly signal: (processId: number) => void
      readonly afterMs: number
      readonly wholly: boolean
    }

type Link = {
  readonly client: Socket
  readonly server: Socket
  readonly number: number
  /** What the server said first; kept until it has told its process number. */
  said: Buffer | null
  processId: number
  /** Nothing more goes that way. */
  dropped: Direction | null
}

// More than any login brings.
const saidBytesMax = 16 * 1024

export class CuttingRelay {
  readonly #target: { readonly host: string; readonly port: number }
  readonly #links = new Set<Link>()
  #server: Server | null = null
  #cut: Cut | null = null
  #victim: Link | null = null
  #accepted = 0
  /** Null: whoever has logged in already may be the victim. */
  #firstNumber: number | null = null
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
    this.#firstNumber = cut.fresh ? this.#accepted : null
    this.#cut = cut
  }

  disarm(): void {
    this.#cut = null
    this.#victim = null
  }

  /** Keeps what such a connection says in `direction`, until `recorded`. */
  record(direction: Direction, fresh: boolean): void {
    this.#victim = null
    this.#firstNumber = fresh ? this.#accepted : null
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
    const number = this.#accepted
    const link: Link = { client, server, number, said: empty, processId: 0, dropped: null }
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
    if (direction === 'down' && link.said !== null) listenFor(link, chunk)
    if (link.dropped === direction) return
    const watching = this.#cut !== null || this.#recorded !== null
    if (watching && direction === 'up' && this.#isMeant(link)) this.#victim ??= link
    if (this.#victim === link && this.#recorded !== null) {
      if (direction === this.#recordedDirection) this.#recorded.push(chunk)
    }
    const cut = this.#cut
    if (cut === null || this.#victim !== link || cut.direction !== direction) {
      // The other direction of a connection that is to end before its first byte.
      if (cut?.mark.atStart === true && this.#victim === link) return this.#carryOut(link, cut)
      to.write(chunk)
      return
    }
    const before = cut.mark.take(chunk)
    if (before === null) {
      to.write(chunk)
      return
    }
    this.#cut = null
    if (cut.end.kind !== 'kill') link.server.pause()
    link[direction === 'up' ? 'client' : 'server'].pause()
    const rest = chunk.subarray(before)
    to.write(chunk.subarray(0, before), () => this.#carryOut(link, cut, rest))
  }

  /** Not a connection that only carries a cancel request, for instance. */
  #isMeant({ number, processId }: Link): boolean {
    return this.#firstNumber === null ? processId > 0 : number >= this.#firstNumber
  }

  #carryOut(link: Link, { direction, end: how }: Cut, rest: Buffer = empty): void {
    this.disarm()
    if (how.kind !== 'kill') return end(link, how.kind === 'rst')
    const [from, to] = direction === 'up' ? [link.client, link.server] : [link.server, link.client]
    if (!how.wholly) link.dropped = direction
    setTimeout(() => {
      how.signal(link.processId)
      if (how.wholly && !to.destroyed) to.write(rest)
      from.resume()
    }, how.afterMs)
  }
}

const empty = Buffer.alloc(0)

function listenFor(link: Link, chunk: Buffer): void {
  const said = Buffer.concat([link.said ?? empty, chunk])
  link.processId = processIdIn(said)
  link.said = link.processId > 0 || said.length > saidBytesMax ? null : said
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
