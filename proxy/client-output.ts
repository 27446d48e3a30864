// The way back to the client: what is written, what it has been told, and how servers are slowed down when it
// does not keep up.
import type { Socket } from 'node:net'
import type { PgError } from '../core/errors.ts'
import { LateSet } from '../core/late.ts'
import type { Outbox } from '../pool/outbox.ts'
import type { ServerConnection, TransactionStatus } from '../pool/server-connection.ts'
import {
  decodeParameterStatus,
  rewriteErrorSeverity,
  writeErrorResponse,
  writeParameterStatus,
  writeReadyForQuery,
} from '../wire/backend.ts'
import { Writer } from '../wire/writer.ts'
import { closeSoon } from './close-soon.ts'
import { Dialect } from './dialect.ts'
import type { ReportedParameters } from './login-reports.ts'
import type { SessionOptions } from './session-options.ts'
import type { Traffic } from './traffic.ts'
import { ServerError } from '../pool/exchange.ts'
import type { Leases } from './leases.ts'

// Servers are not read while this much waits for the client.
const highWaterBytes = 256 * 1024

// Told at login: whatever server has been at work since, the client's own name for the database decides it.
const standby = 'in_hot_standby'

export class ClientOutput {
  readonly #socket: Socket
  readonly #outbox: Outbox
  readonly #leases: Leases
  readonly #traffic: Traffic
  /** What the client was told at its login, as others were: not to be changed. */
  readonly #told: ReportedParameters
  /** What it was told since; null: nothing. */
  #toldSince: Map<string, string> | null = null
  /** How its servers read what it says. */
  readonly dialect = new Dialect()
  readonly #paused = new LateSet<ServerConnection>()
  /** Server that the client shares with others for the statement under way. */
  shared: ServerConnection | null = null
  #deferred: Uint8Array | null = null
  #untold: ReportedParameters | null = null
  /** What may be told between two messages only. */
  #late: Uint8Array | null = null

  constructor({ socket, outbox, reported, database }: SessionOptions, leases: Leases) {
    this.#socket = socket
    this.#traffic = database.traffic
    this.#outbox = outbox
    this.#leases = leases
    this.#told = reported
    for (const [name, value] of reported) this.dialect.note(name, value)
  }

  /** Copies `bytes` into the next write; slows the servers down when the client lags. */
  forward(bytes: Uint8Array): void {
    if (this.#deferred !== null) this.flushDeferred()
    this.#traffic.sentBytes += bytes.length
    this.#outbox.append(bytes)
    if (this.#outbox.pendingBytes <= highWaterBytes) return
    this.#outbox.flush()
    if (!this.#socket.writableNeedDrain) return
    for (const { server } of this.#leases) this.#pause(server)
    if (this.shared !== null) this.#pause(this.shared)
  }

  /** The statement on the shared server is over: whoever comes next there does not wait for this client. */
  unshare(): void {
    const server = this.shared
    this.shared = null
    if (server !== null && this.#paused.delete(server)) server.resumeReading(this)
  }

  #pause(server: ServerConnection): void {
    if (server.exchangesOwed === 0 || server.isPausedBy(this)) return
    this.#paused.add(server)
    server.pauseReading(this)
  }

  /** True while the client does not take what it has asked for: it may ask for more once it does ('drain'). */
  get full(): boolean {
    return this.#outbox.pendingBytes > highWaterBytes && this.#socket.writableNeedDrain
  }

  /** Writes one message of our own. */
  emit(write: (writer: Writer) => void): void {
    this.forward(messageOf(write))
  }

  /** Keeps a CommandComplete back until its transaction has really been committed. */
  defer(bytes: Uint8Array): void {
    this.flushDeferred()
    this.#deferred = bytes
  }

  /** The same for a message of our own. */
  deferMessage(write: (writer: Writer) => void): void {
    this.defer(messageOf(write))
  }

  flushDeferred(): void {
    const bytes = this.#deferred
    this.#deferred = null
    if (bytes === null) return
    this.#traffic.sentBytes += bytes.length
    this.#outbox.append(bytes)
  }

  /** The commit has failed: what would have announced it is not sent. */
  dropDeferred(): void {
    this.#deferred = null
  }

  error(error: PgError): void {
    if (error instanceof ServerError) this.forward(rewriteErrorSeverity(error.frame, 'ERROR'))
    else this.emit((writer) => writeErrorResponse(writer, error))
  }

  /** Writes one message of our own ahead of the next ReadyForQuery: the client has a part of another now. */
  emitLate(write: (writer: Writer) => void): void {
    this.#late = messageOf(write)
  }

  readyForQuery(status: TransactionStatus): void {
    if (this.#untold !== null) this.tellParameters(this.#untold)
    this.#untold = null
    if (this.#late !== null) this.forward(this.#late)
    this.#late = null
    this.forward(readyMessages[status])
  }

  /** Passes a ParameterStatus on when the client does not know the value yet. */
  parameterReported(bytes: Uint8Array): void {
    const { name, value } = decodeParameterStatus(bytes)
    if (this.parameter(name) === value || name === standby) return
    this.#note(name, value)
    this.forward(bytes)
  }

  /** Value of a reported parameter as the client knows it. */
  parameter(name: string): string | undefined {
    return this.#toldSince?.get(name) ?? this.#told.get(name)
  }

  #note(name: string, value: string): void {
    this.#toldSince ??= new Map()
    this.#toldSince.set(name, value)
    this.dialect.note(name, value)
  }

  /** Tells the client every parameter whose value it does not know. */
  tellParameters(reported: ReportedParameters): void {
    for (const [name, value] of reported) {
      if (this.parameter(name) === value || name === standby) continue
      this.#note(name, value)
      this.emit((writer) => writeParameterStatus(writer, name, value))
    }
  }

  /** The same ahead of the next ReadyForQuery, where PostgreSQL tells them too. */
  tellWhenReady(reported: ReportedParameters): void {
    this.#untold = new Map(reported)
  }

  /** The client takes bytes again. */
  resumeServers(): void {
    for (const server of this.#paused) server.resumeReading(this)
    this.#paused.clear()
  }

  /** Sends what is gathered and closes the socket. */
  end(): void {
    this.flushDeferred()
    this.#outbox.flush()
    closeSoon(this.#socket)
    this.resumeServers()
  }
}

function messageOf(write: (writer: Writer) => void): Uint8Array {
  const writer = new Writer(64)
  write(writer)
  return writer.bytes()
}

const readyMessages: Readonly<Record<TransactionStatus, Uint8Array>> = {
  I: messageOf((writer) => writeReadyForQuery(writer, 'I')),
  T: messageOf((writer) => writeReadyForQuery(writer, 'T')),
  E: messageOf((writer) => writeReadyForQuery(writer, 'E')),
}
