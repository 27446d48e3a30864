// One connection to a PostgreSQL server, after login. Requests are sent in a pipeline of exchanges: each
// ends with ReadyForQuery, each has one sink that is given everything the server says until then.
//
// State is in the lists: no exchange → idle; exchanges → busy, the head is being answered;
// `closedBy` set → dead, every sink was told. What the server has in force (settings, prepared
// statements, reported parameters) is kept here because it belongs to the connection, not to a client.
import type { Socket } from 'node:net'
import { assert } from '../core/assert.ts'
import { type PgError, pgError } from '../core/errors.ts'
import type { ShardId } from '../core/ids.ts'
import { decodeErrorFields, decodeParameterStatus, decodeReadyForQuery } from '../wire/backend.ts'
import { backend } from '../wire/codes.ts'
import { FrameScanner } from '../wire/framer.ts'
import { writeTerminate } from '../wire/frontend.ts'
import { Writer } from '../wire/writer.ts'
import type { LoginSecret } from './login-secret.ts'
import { type FlushTurn, Outbox } from './outbox.ts'
import type { ServerTls, ServerTlsMode } from './server-tls.ts'
import { SettingsProfile } from './settings-profile.ts'
import type { CachedStatement } from './statement-cache.ts'

/** Takes the replies of one exchange. Views die when the call returns. */
export interface ReplySink {
  /** `stream`: DataRow and CopyData are handed on in slices, unparsed; `whole`: frame by frame. */
  readonly rows: 'stream' | 'whole'
  slice(bytes: Uint8Array): void
  /** Any other message; with `whole`, rows too. ReadyForQuery is the last. */
  frame(code: number, bytes: Uint8Array): void
  /** The connection died before ReadyForQuery; nothing more will come. */
  lost(error: PgError): void
}

/** Hears what a server says when nobody asked, and that it died while it was idle. */
export interface ServerOwner {
  /** NoticeResponse outside an exchange, NotificationResponse at any time: no exchange is about it. */
  serverSpoke(server: ServerConnection, code: number, bytes: Uint8Array): void
  serverClosed(server: ServerConnection, error: PgError): void
}

/**
 * FATAL ones with which a server ends because it is told to, or crashes (57P01 to 57P03). They do not say what has
 * become of the statement under way: it may have been committed, and only its answer be lost.
 */
const isEnd = (sqlstate: string | undefined) => /^57P0[123]$/.test(sqlstate ?? '')

const adminShutdown = '57P01'

/** A generation that no pool has: statements are prepared anew at the next checkout. */
const outdated = -1

export type TransactionStatus = 'I' | 'T' | 'E'

/** Where a shard's server listens and who we are there. */
export type ServerTarget = {
  readonly shard: ShardId
  /** What the connection is wanted for. */
  readonly role: ServerRole
  readonly host: string
  readonly port: number
  /** What the server's URL says of TLS; absent or null: nothing. */
  readonly tlsMode?: ServerTlsMode | null | undefined
  readonly database: string
  /** Settings that the session begins with; absent: the server's own. */
  readonly settings?: ReadonlyMap<string, string>
  readonly user: string
  readonly password: string | null
  /** What else proves who we are; it changes with the user's logins. Absent: the password alone. */
  readonly secret?: LoginSecret | undefined
}

/** `any`: for whoever wants to know what the server is. */
export type ServerRole = 'primary' | 'replica' | 'any'

export type ServerIdentity = {
  readonly target: ServerTarget
  readonly processId: number
  readonly secret: Uint8Array
  readonly parameters: Map<string, string>
  /** How the connection is encrypted; null: not at all. */
  readonly tls: ServerTls | null
  /** Start of the server's life, monotonic milliseconds. */
  readonly connectedAtMs: number
}

/** SQLSTATEs of a server whose session has been idle for too long, or in a transaction: by settings of its own. */
const ownTimeouts: ReadonlySet<string> = new Set(['25P03', '25P04', '57P05'])

export class ServerConnection {
  readonly target: ServerTarget
  readonly shard: ShardId
  readonly processId: number
  readonly secret: Uint8Array
  readonly tls: ServerTls | null
  /** Last reported value of every GUC_REPORT parameter. */
  readonly parameters: Map<string, string>
  /** The same as its login found them. */
  readonly defaults: ReadonlyMap<string, string>
  readonly connectedAtMs: number
  /** Settings that outlive the transaction, as they are in force on the server. */
  settings = SettingsProfile.empty
  /** Named statements that the server has; in order of last use. */
  readonly prepared = new Map<string, CachedStatement>()
  /** What the unnamed statement was parsed from; null when unknown. */
  unnamed: CachedStatement | null = null
  /** Pool's generation when `prepared` was last known to be current. */
  preparedGeneration = 0
  /** When its pool closes it once it is free, monotonic milliseconds. */
  expiresAtMs = Number.POSITIVE_INFINITY
  /** Pool's number of the target that it was dialled for. */
  targetNumber = 0
  transactionStatus: TransactionStatus = 'I'
  /** Cancel requests on their way to this server: until they have arrived it serves nobody else. None rejects. */
  readonly cancels = new Set<Promise<void>>()
  /** Life of the server process that it leads to, as the monitor names it; '' when nobody asked. */
  incarnation = ''
  owner: ServerOwner | null = null
  idleSinceMs = 0

  readonly #socket: Socket
  readonly #out: Outbox
  readonly #scanner: FrameScanner
  readonly #exchanges: ReplySink[] = []
  #closedBy: PgError | null = null
  #lastFatal: ReadonlyMap<string, string> | null = null
  #drained: (() => void) | null = null
  #passed: ((chunk: Uint8Array) => void) | null = null
  #diedByItself = false
  #silent = true
  readonly #pausedBy = new Set<object>()

  constructor(socket: Socket, turn: FlushTurn, identity: ServerIdentity, wholeBytesMax: number) {
    this.#socket = socket
    this.#out = new Outbox(socket, turn)
    this.#scanner = new FrameScanner(
      {
        header: (code) => this.#header(code),
        slice: (bytes) => this.#exchanges[0]?.slice(bytes),
        frame: (code, bytes) => this.#frame(code, bytes),
      },
      wholeBytesMax,
    )
    this.target = identity.target
    this.shard = identity.target.shard
    this.processId = identity.processId
    this.secret = identity.secret
    this.tls = identity.tls
    this.parameters = identity.parameters
    this.defaults = new Map(identity.parameters)
    this.connectedAtMs = identity.connectedAtMs
    socket.on('drain', () => {
      const resume = this.#drained
      this.#drained = null
      resume?.()
    })
  }

  /** For who shows where it leads to; nobody else reads or writes it. */
  get socket(): Socket {
    return this.#socket
  }

  get closed(): boolean {
    return this.#closedBy !== null
  }

  /** True when the other side or the network has ended it, which may have happened to others: not we, nor its own session. */
  get diedByItself(): boolean {
    return this.#diedByItself
  }

  /** Who hears of the exchange that the server works on; undefined when there is none. */
  get head(): ReplySink | undefined {
    return this.#exchanges[0]
  }

  /** Exchanges that the server has not finished. */
  get exchangesOwed(): number {
    return this.#exchanges.length
  }

  /** True while nothing has come since the oldest exchange that is open was begun. */
  get silent(): boolean {
    return this.#silent
  }

  /** True when an administrator has ended it, or its server was stopped: no statement was the reason. */
  get endedOnOrder(): boolean {
    return this.#lastFatal?.get('C') === adminShutdown
  }

  /** True when a part of a message has been passed on, and the rest has not come. */
  get isInMessage(): boolean {
    return this.#scanner.inStreamed
  }

  /** Bytes waiting to be sent to the server. */
  get pendingBytes(): number {
    return this.#out.pendingBytes
  }

  /** Opens an exchange: `sink` gets every reply up to and with the next unclaimed ReadyForQuery. */
  begin(sink: ReplySink): void {
    if (this.#closedBy !== null) return sink.lost(this.#closedBy)
    if (this.#exchanges.length === 0) this.#silent = true
    this.#exchanges.push(sink)
  }

  /** Which statements it has is not known: it is told to forget all at its next checkout. */
  forgetPrepared(): void {
    this.preparedGeneration = outdated
    this.unnamed = null
  }

  /** What is still to be said to `sink` is said to `other` from now on. */
  replace(sink: ReplySink, other: ReplySink): void {
    const at = this.#exchanges.indexOf(sink)
    if (at >= 0) this.#exchanges[at] = other
  }

  /** Copies `bytes` into the next write. */
  send(bytes: Uint8Array): void {
    if (this.#closedBy === null) this.#out.append(bytes)
  }

  /** Calls `resume` once the socket has taken what was sent. */
  onDrain(resume: () => void): void {
    this.#drained = resume
  }

  /** Back-pressure: nothing is read from the server until everybody who wants that has resumed reading. */
  pauseReading(by: object): void {
    this.#pausedBy.add(by)
    this.#socket.pause()
  }

  resumeReading(by: object): void {
    if (this.#pausedBy.delete(by) && this.#pausedBy.size === 0) this.#socket.resume()
  }

  isPausedBy(by: object): boolean {
    return this.#pausedBy.has(by)
  }

  /** Whoever wanted it to wait has nothing to do with it any more. */
  resumeForAll(): void {
    if (this.#pausedBy.size === 0) return
    this.#pausedBy.clear()
    this.#socket.resume()
  }

  /** From now on `take` is given all bytes as they come, each chunk valid for that call alone. */
  passOn(take: (chunk: Uint8Array) => void): void {
    this.#passed = take
  }

  /** Bytes as they came from the socket; the dialler's onread buffer, valid for this call alone. */
  received(chunk: Uint8Array): void {
    if (this.#closedBy !== null) return
    this.#silent = false
    if (this.#passed !== null) return this.#passed(chunk)
    try {
      this.#scanner.push(chunk)
    } catch (error) {
      this.close(error instanceof Error ? error.message : String(error))
    }
  }

  /** The socket has ended without our doing. */
  died(reason: string): void {
    const why = this.#lastFatal?.get('C') ?? ''
    if (this.#closedBy === null) this.#diedByItself = !ownTimeouts.has(why)
    this.close(reason)
  }

  /** The socket is gone, or is of no use any more: every sink and the owner are told once. */
  close(reason: string): void {
    if (this.#closedBy !== null) return
    const error = this.#closeError(reason)
    this.#closedBy = error
    if (this.#exchanges.length === 0) {
      this.#terminate()
      this.#socket.destroySoon()
    } else {
      this.#socket.destroy()
    }
    for (const sink of this.#exchanges.splice(0)) sink.lost(error)
    this.owner?.serverClosed(this, error)
    const resume = this.#drained
    this.#drained = null
    resume?.()
  }

  #terminate(): void {
    const writer = new Writer(16)
    writeTerminate(writer)
    this.#out.append(writer.bytes())
    this.#out.flush()
  }

  #closeError(reason: string): PgError {
    const fatal = this.#lastFatal
    if (fatal === null) return pgError('serverLost', [this.shard, reason])
    const detail = `The server reported SQLSTATE ${fatal.get('C') ?? '?'}.`
    return pgError('serverLost', [this.shard, fatal.get('M') ?? reason], { detail })
  }

  #header(code: number): 'stream' | 'whole' {
    if (code !== backend.dataRow && code !== backend.copyData) return 'whole'
    return this.#exchanges[0]?.rows ?? 'whole'
  }

  #frame(code: number, bytes: Uint8Array): void {
    if (code === backend.parameterStatus) {
      const { name, value } = decodeParameterStatus(bytes)
      this.parameters.set(name, value)
    } else if (code === backend.errorResponse) {
      const fields = decodeErrorFields(bytes)
      if (fields.get('V') === 'FATAL' || fields.get('V') === 'PANIC') {
        this.#lastFatal = fields
        if (isEnd(fields.get('C'))) return this.died('it has ended')
      }
      // "cached plan must not change result type": DDL that we did not see has outdated our statements.
      if (fields.get('R') === 'RevalidateCachedQuery') this.preparedGeneration = outdated
    }
    const sink = this.#exchanges[0]
    if (sink === undefined || code === backend.notificationResponse) {
      if (code === backend.noticeResponse || code === backend.notificationResponse) {
        this.owner?.serverSpoke(this, code, bytes)
      }
      return
    }
    if (code === backend.readyForQuery) {
      this.transactionStatus = decodeReadyForQuery(bytes)
      const finished = this.#exchanges.shift()
      assert(finished === sink, 'replies come in the order of the requests')
    }
    sink.frame(code, bytes)
  }
}
