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
// What waits for the end of a client's transaction, or for a client that does not read.
const waitingBytesMax = 16 * 1024 * 1024
// What one takes beside its texts.
const entryBytes = 128

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

/** True for encodings in which a client takes the hub's UTF-8 as it comes. */
export function hearsUtf8(encoding: string): boolean {
  return encoding === 'UTF8' || encoding === 'SQL_ASCII'
}

/** ASCII is the same in all of PostgreSQL's encodings. */
function isAscii({ channel, payload }: Notification): boolean {
  return payload.every((byte) => byte < 0x80) && Buffer.byteLength(channel) === channel.length
}

type Ear = { readonly inForce: boolean }

export class Listening implements Listener {
  readonly #options: ListeningOptions
  /** From LISTEN on; in force from the commit on. */
  readonly #channels = new Map<string, Ear>()
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
    return [...this.#channels].flatMap(([channel, { inForce }]) => (inForce ? [channel] : []))
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
    const ear = { inForce: false }
    this.#channels.set(channel, ear)
    try {
      await this.#options.hub.listen(channel, this)
    } catch (error) {
      // Given up, it may have been asked for again.
      if (this.#channels.get(channel) === ear) this.#channels.delete(channel)
      throw error
    }
  }

  /** The client waits for `prepare` no more. */
  giveUp(channel: string): void {
    if (this.#channels.get(channel)?.inForce === false) this.#drop(channel)
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
    for (const channel of wanted) this.#channels.set(channel, { inForce: true })
    this.#waiting = this.#waiting.filter(({ channel }) => this.#channels.get(channel)?.inForce)
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
    this.#tellWaiting()
  }

  #tellWaiting(): void {
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
    const ear = this.#channels.get(notification.channel)
    if (ear === undefined || (!ear.inForce && !this.#arming)) return
    const { isIdle, output } = this.#options
    if (this.#waiting.length === 0 && this.#missed === null && isIdle() && !output.full) {
      return this.#tell(this.#seen(notification))
    }
    this.#waitingBytes += notification.payload.length + notification.channel.length + entryBytes
    if (this.#waitingBytes <= waitingBytesMax) {
      this.#waiting.push(this.#seen(notification))
      return
    }
    this.#waiting = []
    this.#waitingBytes = 0
    this.#missed =
      'more of them came than can wait for the end of a transaction, or for who does not read'
  }

  /** The client takes bytes again. */
  drained(): void {
    if (this.#waiting.length > 0 || this.#missed !== null) {
      if (this.#options.isIdle()) this.#tellWaiting()
    }
  }

  missed(reason: string): void {
    if (this.#options.isIdle() && !this.#options.output.full) this.#tellMissed(reason)
    else this.#missed = reason
  }

  /** The sender as this client knows processes: itself by its own number, nobody else by that. */
  #seen(notification: Notification): Notification {
    const { ownPid, isOwn } = this.#options
    if (isOwn(notification.pid)) return { ...notification, pid: ownPid }
    return notification.pid === ownPid ? { ...notification, pid: 0 } : notification
  }

  #tell(notification: Notification): void {
    const { output } = this.#options
    const encoding = output.parameter('client_encoding') ?? 'UTF8'
    if (!hearsUtf8(encoding) && !isAscii(notification)) {
      return this.#tellMissed(`one came that is not ASCII, and client_encoding is ${encoding} now`)
    }
    output.emit((writer) => writeNotification(writer, notification))
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
      if (!keeps(channel)) this.#drop(channel)
    }
  }

  #drop(channel: string): void {
    this.#channels.delete(channel)
    this.#options.hub.unlisten(channel, this)
  }
}
