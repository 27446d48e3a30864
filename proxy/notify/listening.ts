// The channels that one client listens to, and what has come for it: told at PostgreSQL's moments, when the client is
// between two commands and outside a transaction. LISTEN and UNLISTEN count from the commit of their transaction.
import { pgError } from '../../core/errors.ts'
import type { ServerTarget } from '../../pool/server-connection.ts'
import { writeNotice } from '../../wire/backend.ts'
import { type Notification, writeNotification } from '../../wire/notification.ts'
import type { ListenAction } from '../transaction.ts'
import type { ClientOutput } from '../client-output.ts'
import type { Listener, NotifyHub } from './hub.ts'

const channelsMax = 1_000
// What waits for the end of a client's transaction.
const waitingBytesMax = 16 * 1024 * 1024

export type ListeningOptions = {
  readonly hub: NotifyHub
  readonly output: ClientOutput
  readonly target: () => ServerTarget | null
  /** True while the client is between two commands and outside a transaction. */
  readonly isIdle: () => boolean
  /** True when the client itself has sent it: its own process id as it knows it. */
  readonly ownPid: number
  readonly isOwn: (serverPid: number) => boolean
}

export class Listening implements Listener {
  readonly #options: ListeningOptions
  /** True once it is in force; false from LISTEN to the commit. */
  readonly #channels = new Map<string, boolean>()
  #waiting: Notification[] = []
  #waitingBytes = 0
  #missed: string | null = null
  /** A commit is under way that may put channels in force. */
  #arming = false
  /** What is known to have been sent before the command began has come. */
  #caughtUp = false

  constructor(options: ListeningOptions) {
    this.#options = options
  }

  /** Channels in force. */
  get channels(): readonly string[] {
    return [...this.#channels].flatMap(([channel, inForce]) => (inForce ? [channel] : []))
  }

  /** True when some are in force or about to be. */
  get isInUse(): boolean {
    return this.#channels.size > 0
  }

  /** True when the client must not hear that it is ready before the hub has caught up. */
  get isBehind(): boolean {
    return this.#channels.size > 0 && !this.#caughtUp
  }

  /** From here on the hub hears the channel, for this client once `commit` says so. @throws PgError 54000, 08001 */
  async prepare(channel: string): Promise<void> {
    if (this.#channels.has(channel)) return
    if (this.#channels.size >= channelsMax) throw pgError('tooManyChannels', [channelsMax])
    this.#channels.set(channel, false)
    try {
      await this.#options.hub.listen(channel, this)
    } catch (error) {
      this.#channels.delete(channel)
      throw error
    }
  }

  /** COMMIT is about to be sent: from now on what comes may be for channels that it puts in force, and nothing before. */
  async arm(): Promise<void> {
    await this.#options.hub.caughtUp()
    this.#arming = true
  }

  /** The transaction has ended; `actions` are what it asked for, in order: none when it was rolled back. */
  ended(actions: readonly ListenAction[]): void {
    this.#arming = false
    const wanted = new Set(this.channels)
    for (const { kind, channel } of actions) {
      if (kind === 'listen') wanted.add(channel)
      else if (channel === null) wanted.clear()
      else wanted.delete(channel)
    }
    // What was given up and asked for again stays with the hub.
    this.#keep((channel) => wanted.has(channel))
    for (const channel of wanted) this.#channels.set(channel, true)
    this.#waiting = this.#waiting.filter(({ channel }) => this.#channels.get(channel) === true)
  }

  /** UNLISTEN of everything: DISCARD ALL, or the client's end. */
  clear(): void {
    this.#keep(() => false)
    this.#waiting = []
    this.#waitingBytes = 0
  }

  /** Resolves once what was sent before has come. */
  async catchUp(): Promise<void> {
    await this.#options.hub.caughtUp()
    this.#caughtUp = true
  }

  /** Tells the client what waits for it; it is ready now. */
  flush(): void {
    this.#caughtUp = false
    if (this.#missed !== null) this.#tellMissed(this.#missed)
    this.#missed = null
    const waiting = this.#waiting
    this.#waiting = []
    this.#waitingBytes = 0
    for (const notification of waiting) this.#tell(notification)
  }

  target(): ServerTarget | null {
    return this.#options.target()
  }

  notified(notification: Notification): void {
    const inForce = this.#channels.get(notification.channel)
    if (inForce === undefined || (!inForce && !this.#arming)) return
    if (this.#options.isIdle()) return this.#tell(this.#seen(notification))
    this.#waitingBytes += notification.payload.length + notification.channel.length
    if (this.#waitingBytes > waitingBytesMax) {
      this.#waiting = []
      this.#waitingBytes = 0
      this.#missed = 'more of them came than can wait for the end of a transaction'
      return
    }
    this.#waiting.push(this.#seen(notification))
  }

  missed(reason: string): void {
    if (this.#options.isIdle()) this.#tellMissed(reason)
    else this.#missed = reason
  }

  /** The sender as this client knows processes: itself by its own number, nobody else by that. */
  #seen(notification: Notification): Notification {
    const { ownPid, isOwn } = this.#options
    if (isOwn(notification.pid)) return { ...notification, pid: ownPid }
    return notification.pid === ownPid ? { ...notification, pid: 0 } : notification
  }

  #tell(notification: Notification): void {
    this.#options.output.emit((writer) => writeNotification(writer, notification))
  }

  #tellMissed(reason: string): void {
    this.#options.output.emit((writer) =>
      writeNotice(writer, {
        severity: 'WARNING',
        sqlstate: '01000',
        message: 'notifications may have been missed',
        detail: `While this session was listening, ${reason}.`,
        hint: 'Look at what the notifications are about.',
      }),
    )
  }

  #keep(keeps: (channel: string) => boolean): void {
    for (const channel of Array.from(this.#channels.keys())) {
      if (keeps(channel)) continue
      this.#channels.delete(channel)
      this.#options.hub.unlisten(channel, this)
    }
  }
}
