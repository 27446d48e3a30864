// Replication connections (`replication=true|database` in the startup packet): each has a server connection of its own, in no
// pool, and from the login on bytes go both ways as they come. That is what session mode is: in the other modes they
// are refused. Who reads slowly slows the other side down.
import type { Socket } from 'node:net'
import { pgError } from '../core/errors.ts'
import { dial, type DialOptions } from '../pool/dial.ts'
import type { Outbox } from '../pool/outbox.ts'
import type { ServerConnection } from '../pool/server-connection.ts'
import type { Framer } from '../wire/framer.ts'
import { closeSoon } from './close-soon.ts'
import type { Database } from './database.ts'
import type { Credentials } from './database-options.ts'
import type { ClientStartup } from './startup-parameters.ts'

export type ReplicationClient = {
  readonly socket: Socket
  readonly outbox: Outbox
  readonly framer: Framer
  readonly database: Database
  readonly client: Credentials
  readonly startup: ClientStartup
}

/** Neither side is read while this much waits for the other. */
const highWaterBytes = 256 * 1024

export class Replications {
  readonly #dial: DialOptions
  readonly #open = new Map<Database, number>()

  constructor(options: DialOptions) {
    this.#dial = options
  }

  /** Logs in to the primary. @throws PgError 0A000 outside session mode, 53300, 08001 */
  async connect(wish: ReplicationClient, isSession: boolean): Promise<ReplicationLink> {
    const { database, client, startup } = wish
    const { replicationConnectionsMax, connectTimeoutMs, rules } = database.options
    if (!isSession || rules !== null) {
      const hint = 'Set pool.mode or user_settings.….pool_mode to session, without sharding.'
      throw pgError('unsupported', ['a replication connection in this mode'], { hint })
    }
    const open = this.#open.get(database) ?? 0
    if (open >= replicationConnectionsMax) {
      throw pgError('tooManyReplications', [database.options.name])
    }
    const { home } = database
    const { target } = database.poolFor(home, client)
    if (target === null) throw pgError('serverUnreachable', [home, 'no primary is known'])
    this.#open.set(database, open + 1)
    const left = () => this.#open.set(database, (this.#open.get(database) ?? 1) - 1)
    try {
      const settings = new Map([...(target.settings ?? []), ...startup.replication])
      const options = { ...this.#dial, connectTimeoutMs }
      const server = await dial({ ...target, settings }, options)
      return new ReplicationLink(wish, server, left)
    } catch (error) {
      left()
      throw error
    }
  }
}

/** Passes bytes both ways until one side ends. */
export class ReplicationLink {
  readonly server: ServerConnection
  readonly #socket: Socket
  readonly #outbox: Outbox
  readonly #left: () => void
  #over = false

  constructor(
    { socket, outbox, framer }: ReplicationClient,
    server: ServerConnection,
    left: () => void,
  ) {
    this.server = server
    this.#socket = socket
    this.#outbox = outbox
    this.#left = left
    server.owner = { serverSpoke: () => undefined, serverClosed: () => this.#serverClosed() }
    server.passOn((chunk) => this.#fromServer(chunk))
    // What the client has sent ahead of its welcome.
    for (let frame = framer.next(); frame !== undefined; frame = framer.next()) {
      server.send(frame.bytes)
    }
    this.#rest = framer
  }

  /** A message of which only a part had come. */
  #rest: Framer | null

  /** Bytes from the client. */
  received(chunk: Uint8Array): void {
    const rest = this.#rest
    if (rest !== null && rest.bufferedBytes > 0) {
      rest.push(chunk)
      for (let frame = rest.next(); frame !== undefined; frame = rest.next()) {
        this.server.send(frame.bytes)
      }
      rest.own()
      return
    }
    this.#rest = null
    this.server.send(chunk)
    if (this.server.pendingBytes <= highWaterBytes) return
    this.#socket.pause()
    this.server.onDrain(() => this.#socket.resume())
  }

  /** The client takes bytes again. */
  drained(): void {
    this.server.resumeReading(this)
  }

  /** The client has gone. */
  close(): void {
    if (this.#over) return
    this.#over = true
    this.#left()
    this.server.close('its client is gone')
  }

  #fromServer(chunk: Uint8Array): void {
    this.#outbox.append(chunk)
    if (this.#outbox.pendingBytes <= highWaterBytes) return
    this.#outbox.flush()
    if (this.#socket.writableNeedDrain) this.server.pauseReading(this)
  }

  #serverClosed(): void {
    if (this.#over) return
    this.#over = true
    this.#left()
    this.#outbox.flush()
    closeSoon(this.#socket)
  }
}
