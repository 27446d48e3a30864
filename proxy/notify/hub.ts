// One connection that listens for all clients of a database: what it hears goes to those that asked for the channel.
//
// States: no channel → no connection; opening → one dial at a time; open → LISTEN and UNLISTEN follow the channels;
// lost → dialled again with growing pauses as long as somebody listens. What was sent meanwhile has been missed, and every
// listener is told so. Paused → no connection, and who wants to listen waits.
import type { Clock, Timer } from '../../core/clock.ts'
import { type PgError, pgError, toPgError } from '../../core/errors.ts'
import type { Log } from '../../core/log.ts'
import { type DialOptions, dial } from '../../pool/dial.ts'
import { AnswerSink, sendQuery } from '../../pool/exchange.ts'
import type { ServerConnection, ServerOwner, ServerTarget } from '../../pool/server-connection.ts'
import { isSamePlace } from '../../pool/stranded.ts'
import { backend } from '../../wire/codes.ts'
import { decodeNotification, type Notification } from '../../wire/notification.ts'

/** One client, as the hub sees it. */
export interface Listener {
  /** Server and login that the hub may use; null while there is none. */
  target(): ServerTarget | null
  notified(notification: Notification): void
  /** Notifications may have been missed. */
  missed(reason: string): void
}

type HubContext = {
  readonly clock: Clock
  readonly log: Log
  readonly dial: DialOptions
}

type Resumption = { readonly promise: Promise<void>; readonly resolve: () => void }

const pauseMsMin = 100
const pauseMsMax = 5_000
// Who listens again within that time finds the connection still there.
const idleMs = 10_000
const connectionLost = '08006'
// A channel is asked for anew so often at most, when connections are replaced one after the other.
const askedMax = 20
// Of clients that are tried one after the other.
const loginsMax = 8
// A server that says nothing for so long is gone.
const answerMsMax = 30_000

export class NotifyHub implements ServerOwner {
  readonly #context: HubContext
  readonly #waitMs: () => number
  /** Who listens, each with a mark of the time when it began: it may have given up, and begun again. */
  readonly #channels = new Map<string, Map<Listener, object>>()
  /** Channels that the server has confirmed, or is asked for. */
  #asked = new Map<string, Promise<void>>()
  #server: ServerConnection | null = null
  #opening: Promise<ServerConnection> | null = null
  #barrier: Promise<void> | null = null
  /** What is being dialled for an older number leads to where nobody wants to listen any more. */
  #number = 0
  #paused: Resumption | null = null
  #reopening: Timer | null = null
  #pauseMs = pauseMsMin
  #lost = false
  #closed = false

  /** `waitMs`: how long who wants to listen waits for the end of a pause; 0: for ever. */
  constructor(context: HubContext, waitMs: () => number) {
    this.#context = context
    this.#waitMs = waitMs
  }

  /** Number of channels that somebody listens to. */
  get size(): number {
    return this.#channels.size
  }

  /** Resolves once nothing that is sent to `channel` from now on is missed. @throws PgError 08001, 08006 */
  async listen(channel: string, listener: Listener): Promise<void> {
    const listeners = this.#channels.get(channel) ?? new Map<Listener, object>()
    const mark = {}
    this.#channels.set(channel, listeners.set(listener, mark))
    const isWanted = () => this.#channels.get(channel)?.get(listener) === mark
    try {
      await this.#askUntilHeard(channel, isWanted)
    } catch (error) {
      if (isWanted()) this.unlisten(channel, listener)
      throw error
    }
  }

  /** What comes for `channel` is not for `listener` any more. */
  unlisten(channel: string, listener: Listener): void {
    const listeners = this.#channels.get(channel)
    if (listeners === undefined || !listeners.delete(listener) || listeners.size > 0) return
    this.#channels.delete(channel)
    const server = this.#server
    if (server !== null && this.#asked.delete(channel)) {
      this.#question(server, `UNLISTEN ${quoted(channel)}`).catch(() => undefined)
    }
    if (this.#channels.size === 0) this.#context.clock.after(idleMs, () => this.#closeIdle())
  }

  /** Resolves once all notifications have been handed on that were committed before the call. */
  async caughtUp(): Promise<void> {
    const server = this.#server
    if (server === null) return
    // Those who ask while a question is on its way share the next one.
    const running = this.#barrier
    if (running !== null) await running.catch(() => undefined)
    this.#barrier ??= this.#question(server, 'SELECT 1').finally(() => {
      this.#barrier = null
    })
    await this.#barrier.catch(() => undefined)
  }

  /** Listens over a new connection from now on. */
  renew(reason: string): void {
    this.#number += 1
    this.#opening = null
    this.#server?.close(reason)
  }

  /** The same when the server that is listened to is not the one that clients write to. */
  follow(reason: string): void {
    const server = this.#server
    const follows = server !== null && isSamePlace(server.target, this.#target())
    if (!follows) this.renew(reason)
  }

  /** Has no connection until `resume`. */
  pause(): void {
    this.#paused ??= Promise.withResolvers<void>()
    this.renew('the shard is paused')
  }

  resume(): void {
    const paused = this.#paused
    this.#paused = null
    paused?.resolve()
    if (paused !== null && this.#lost) this.#reopen()
  }

  close(): void {
    this.#closed = true
    this.#channels.clear()
    this.#reopening?.cancel()
    this.resume()
    this.renew('the proxy ends')
  }

  serverSpoke(_server: ServerConnection, code: number, bytes: Uint8Array): void {
    if (code === backend.notificationResponse) this.#heard(bytes)
  }

  serverClosed(server: ServerConnection, error: PgError): void {
    if (this.#server !== server) return
    this.#server = null
    this.#asked = new Map()
    if (this.#closed || this.#channels.size === 0) return
    this.#lost = true
    this.#context.log.warn({ reason: error.message }, 'the connection that listens was lost')
    this.#reopenLater()
  }

  #heard(bytes: Uint8Array): void {
    const notification = decodeNotification(bytes)
    for (const listener of this.#channels.get(notification.channel)?.keys() ?? []) {
      listener.notified(notification)
    }
  }

  /** Asks again over the next connection when this one was lost, or replaced by an operator or a failover. @throws PgError 08001, 53300 */
  async #askUntilHeard(channel: string, isWanted: () => boolean): Promise<void> {
    for (let turn = 1; ; turn += 1) {
      const number = this.#number
      try {
        return await this.#ask(channel)
      } catch (error) {
        const { sqlstate } = toPgError(error)
        const replaced = number !== this.#number && sqlstate.startsWith('08')
        const again = replaced || sqlstate === connectionLost
        if (!again || turn === askedMax || this.#closed || !isWanted()) throw error
      }
    }
  }

  async #ask(channel: string): Promise<void> {
    await this.#resumed()
    const server = await this.#open()
    const known = this.#asked.get(channel)
    if (known !== undefined) return known
    const asking = this.#question(server, `LISTEN ${quoted(channel)}`)
    this.#asked.set(channel, asking)
    await asking
  }

  #open(): Promise<ServerConnection> {
    if (this.#server !== null) return Promise.resolve(this.#server)
    if (this.#opening !== null) return this.#opening
    const opening = this.#dial().finally(() => {
      if (this.#opening === opening) this.#opening = null
    })
    this.#opening = opening
    return opening
  }

  async #dial(): Promise<ServerConnection> {
    const number = this.#number
    const server = await this.#login()
    server.owner = this
    if (server.closed || this.#closed || number !== this.#number) {
      server.close('nobody listens there any more')
      throw pgError('serverUnreachable', [server.shard, 'it hung up'])
    }
    this.#server = server
    try {
      for (const channel of Array.from(this.#channels.keys())) {
        const asking = this.#question(server, `LISTEN ${quoted(channel)}`)
        this.#asked.set(channel, asking)
        await asking
      }
    } catch (error) {
      // Some of the channels are not heard there.
      server.close('it does not listen')
      throw error
    }
    this.#pauseMs = pauseMsMin
    if (this.#lost) this.#tellMissed()
    return server
  }

  /** As the first client that may log in: what has become of one is not to concern the others. */
  async #login(): Promise<ServerConnection> {
    const targets = this.#targets()
    for (const [at, target] of targets.entries()) {
      try {
        return await dial(target, this.#context.dial)
      } catch (error) {
        const refused = toPgError(error).sqlstate.startsWith('28')
        if (!refused || at === targets.length - 1) throw error
      }
    }
    throw pgError('serverUnreachable', ['home', 'it is not known which it is'])
  }

  #tellMissed(): void {
    this.#lost = false
    const all = new Set([...this.#channels.values()].flatMap((listeners) => [...listeners.keys()]))
    for (const listener of all) listener.missed('the connection that listens was lost')
  }

  #target(): ServerTarget | null {
    return this.#targets()[0] ?? null
  }

  /** One for each login, a few of them. */
  #targets(): readonly ServerTarget[] {
    const found = new Map<string, ServerTarget>()
    for (const listeners of this.#channels.values()) {
      for (const listener of listeners.keys()) {
        const target = listener.target()
        if (target !== null && !found.has(target.user)) found.set(target.user, target)
        if (found.size === loginsMax) return [...found.values()]
      }
    }
    return [...found.values()]
  }

  /** @throws PgError 53300 when the pause lasts for too long */
  async #resumed(): Promise<void> {
    const paused = this.#paused
    if (paused === null) return
    const waitMs = this.#waitMs()
    if (waitMs === 0) return await paused.promise
    const shard = this.#target()?.shard ?? 'home'
    const late = Promise.withResolvers<void>()
    const deadline = this.#context.clock.after(waitMs, () =>
      late.reject(pgError('poolTimeout', [shard, waitMs])),
    )
    await Promise.race([paused.promise, late.promise]).finally(() => deadline.cancel())
  }

  #reopenLater(): void {
    if (this.#reopening !== null) return
    const pauseMs = this.#pauseMs
    this.#pauseMs = Math.min(pauseMsMax, pauseMs * 2)
    this.#reopening = this.#context.clock.after(pauseMs, () => {
      this.#reopening = null
      this.#reopen()
    })
  }

  #reopen(): void {
    const isWanted = !this.#closed && this.#paused === null && this.#channels.size > 0
    if (!isWanted || this.#server !== null) return
    this.#open().catch((error: unknown) => {
      this.#context.log.warn({ reason: toPgError(error).message }, 'nobody listens yet')
      if (this.#server === null) this.#reopenLater()
    })
  }

  #closeIdle(): void {
    if (this.#channels.size > 0) return
    const server = this.#server
    this.#server = null
    this.#asked = new Map()
    server?.close('nobody listens')
  }

  #question(server: ServerConnection, sql: string): Promise<void> {
    const { clock } = this.#context
    return new Promise((resolve, reject) => {
      const deadline = clock.after(answerMsMax, () => server.close('it does not answer'))
      const answer = new AnswerSink((error) => {
        deadline.cancel()
        if (error === null) resolve()
        else reject(error)
      })
      sendQuery(server, sql, answer)
    })
  }
}

function quoted(channel: string): string {
  return `"${channel.replaceAll('"', '""')}"`
}
