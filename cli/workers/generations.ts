// The process before this one and the process after it, while an upgrade is under way: the older one starts the newer
// one, which says when it serves, or why it cannot. Until the older one has ended, each passes cancel requests for the
// other's clients on.
import { z } from 'zod'
import type { Log } from '../../core/log.ts'
import { CommandFailure } from '../load-config.ts'
import { Channel, type Offered } from './channel.ts'
import { Child } from './child.ts'
import { bequeath, type Estate } from './estate.ts'
import { namedCall } from './messages.ts'
import type { Order } from './standing-orders.ts'

const startMs = 60_000
const callMs = 10_000

const reasonText = z.object({ reason: z.string() })

/** What a newer process and an older one want of this one. */
export type Kin = {
  /** Hexadecimal digits of the secret; a key that is nobody's here is heeded by nobody. */
  readonly cancel: (pid: number, secret: string) => Promise<void>
  /** Carries out what the newer one's console was told. @throws PgError why it was not done */
  readonly order: (order: Order) => Promise<unknown>
}

const key = z.object({ pid: z.number(), secret: z.string() })

function offeredBy(kin: Kin): Offered {
  return {
    cancel: async (given) => {
      const { pid, secret } = key.parse(given)
      await kin.cancel(pid, secret)
    },
    order: async (given) => kin.order(namedCall.parse(given)),
  }
}

/** The newer process, once it serves. */
export class Successor {
  readonly #child: Child

  private constructor(child: Child) {
    this.#child = child
  }

  /**
   * Starts it with the command line of this process; resolves when it serves. @throws CommandFailure with the reason it
   * gave; it has ended then
   */
  static async start(estate: Estate, kin: Kin, log: Log): Promise<Successor> {
    const { promise: verdict, resolve: settle } = Promise.withResolvers<string | null>()
    const child = new Child({
      argv: process.argv.slice(1),
      ...bequeath(estate),
      offered: {
        ...offeredBy(kin),
        serving: async () => settle(null),
        failed: async (given) => settle(reasonText.parse(given).reason),
      },
    })
    log.info({ successor: child.pid }, 'upgrade: the new process has been started')
    void child.ended.then((how) => settle(`it has ended with ${how} before it served`))
    const timer = setTimeout(() => settle(`it did not serve within ${startMs / 1_000} s`), startMs)
    const reason = await verdict
    clearTimeout(timer)
    if (reason === null) return new Successor(child)
    child.kill()
    throw new CommandFailure(`the new process cannot take over: ${reason}`)
  }

  get pid(): number {
    return this.#child.pid
  }

  async cancel(pid: number, secret: string): Promise<void> {
    await this.#child.channel.call('cancel', { pid, secret }, callMs).catch(() => undefined)
  }

  /** Goes on without this process. */
  release(): void {
    this.#child.release()
  }
}

/** The older process, for as long as it has clients. */
export class Predecessor {
  readonly #channel: Channel
  /** Resolves when it has ended. */
  readonly ended: Promise<void>

  /** It has started this one and listens. */
  constructor(kin: Kin) {
    this.#channel = new Channel((message) => process.send?.(message), offeredBy(kin))
    process.on('message', (message) => this.#channel.received(message))
    const { promise: ended, resolve } = Promise.withResolvers<void>()
    this.ended = ended
    process.on('disconnect', () => {
      this.#channel.close()
      resolve()
    })
    // It may take long; that it is there does not keep this process alive.
    process.channel?.unref()
  }

  /** False once it has ended. */
  get isThere(): boolean {
    return !this.#channel.closed
  }

  async serving(): Promise<void> {
    await this.#channel.call('serving', {}, callMs)
  }

  /** Why this process cannot take over. */
  async failed(error: unknown): Promise<void> {
    const reason = error instanceof Error ? error.message : String(error)
    await this.#channel.call('failed', { reason }, callMs)
  }

  /** Resolves once it is carried out. @throws PgError why it was not done, 57P01 when the process has ended */
  async order({ name, args }: Order): Promise<void> {
    if (!this.#channel.closed) await this.#channel.call('order', { name, args }, null)
  }

  async cancel(pid: number, secret: string): Promise<void> {
    if (this.#channel.closed) return
    await this.#channel.call('cancel', { pid, secret }, callMs).catch(() => undefined)
  }
}
