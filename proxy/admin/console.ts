// The admin console: the database "ringfence", or "pgbouncer" for what was made for that. It answers one message after
// the other, in the order of their arrival; while a command takes its time, what comes in waits unread. Both protocols:
// a simple string may hold several commands, a prepared one takes values by parameters.
//
// After an error in the extended protocol everything up to Sync is skipped, as in PostgreSQL.
import type { Socket } from 'node:net'
import { type PgError, pgError, toPgError } from '../../core/errors.ts'
import type { Outbox } from '../../pool/outbox.ts'
import {
  writeBindComplete,
  writeCloseComplete,
  writeCommandComplete,
  writeDataRow,
  writeEmptyQueryResponse,
  writeErrorResponse,
  writeNoData,
  writeNotice,
  writeParameterDescription,
  writeParseComplete,
  writePortalSuspended,
  writeReadyForQuery,
  writeRowDescription,
} from '../../wire/backend.ts'
import { frontend } from '../../wire/codes.ts'
import type { Frame, Framer } from '../../wire/framer.ts'
import {
  decodeBind,
  decodeClose,
  decodeDescribe,
  decodeExecute,
  decodeParse,
  decodeQuery,
} from '../../wire/frontend.ts'
import { Writer } from '../../wire/writer.ts'
import type { Rows } from '../fleet.ts'
import { closeSoon } from '../close-soon.ts'
import type { AdminCommands, Asker, Outcome } from './commands.ts'
import { boundTexts, encodeRow, fieldsOf, textOid } from './encoding.ts'
import { type Command, commandsOf, paramCountOf } from './tokens.ts'

export type ConsoleOptions = {
  readonly socket: Socket
  readonly outbox: Outbox
  readonly framer: Framer
  readonly asker: Asker
  readonly commands: Pick<AdminCommands, 'columnsOf' | 'run'>
}

type Statement = {
  /** Null: an empty query. */
  readonly command: Command | null
  readonly paramTypes: readonly number[]
}

type Portal = Statement & {
  readonly values: readonly (string | null)[]
  readonly formats: readonly number[]
  /** What of its answer has not been fetched yet; null before it has run. */
  rest: Outcome | null
}

/** Unread bytes beyond which the socket is not read on while a command takes its time. */
const unreadBytesMax = 64 * 1024
/** Answers that have not been taken, beyond which no further question is. */
const unsentBytesMax = 256 * 1024
/** Of one session, and of one pipeline. */
const statementsMax = 1_000
const portalsMax = 1_000
const nothing = ''

export class AdminConsole {
  readonly #options: ConsoleOptions
  readonly #statements = new Map<string, Statement>()
  readonly #portals = new Map<string, Portal>()
  #working = false
  #skipping = false
  #closed = false

  constructor(options: ConsoleOptions) {
    this.#options = options
  }

  received(chunk: Uint8Array): void {
    const { framer, socket } = this.#options
    framer.push(chunk)
    void this.#work()
    framer.own()
    if ((this.#working || this.#full) && framer.bufferedBytes > unreadBytesMax) socket.pause()
  }

  drained(): void {
    void this.#work()
  }

  /** True while the client does not take what it has asked for: it may ask for more once it does. */
  get #full(): boolean {
    const { outbox, socket } = this.#options
    return outbox.pendingBytes > unsentBytesMax && socket.writableNeedDrain
  }

  close(): void {
    this.#closed = true
    this.#options.outbox.flush()
    closeSoon(this.#options.socket)
  }

  /** Answers what has come in, one message after the other. */
  async #work(): Promise<void> {
    if (this.#working) return
    this.#working = true
    const { framer, socket } = this.#options
    try {
      for (;;) {
        const stops = this.#closed || socket.destroyed || this.#full
        const frame = stops ? undefined : framer.next()
        if (frame === undefined) break
        // What a message says is read before the first wait: its bytes may be overwritten then.
        const answer = this.#take(frame)
        if (answer !== undefined) await answer
      }
    } catch (error) {
      this.#fail(toPgError(error))
      this.close()
    } finally {
      this.#working = false
    }
    if (!socket.destroyed && !this.#full) socket.resume()
  }

  #take(frame: Frame): Promise<void> | undefined {
    const { code, bytes } = frame
    if (code === frontend.terminate) {
      this.close()
      return undefined
    }
    if (code === frontend.sync) {
      this.#skipping = false
      this.#portals.clear()
      return this.#ready()
    }
    if (this.#skipping || code === frontend.flush) return undefined
    if (code === frontend.query) return this.#simple(Buffer.from(decodeQuery(bytes)).toString())
    if (!isExtended(code)) throw pgError('protocolViolation', [`message type ${code}`])
    try {
      return this.#extended(code, bytes)?.catch((error: unknown) => this.#failExtended(error))
    } catch (error) {
      return this.#failExtended(error)
    }
  }

  // ---- the simple protocol

  async #simple(sql: string): Promise<void> {
    const { commands, asker } = this.#options
    this.#statements.delete(nothing)
    this.#portals.clear()
    try {
      const asked = commandsOf(sql)
      if (asked.length === 0) this.#send(writeEmptyQueryResponse)
      for (const command of asked) {
        const outcome = await commands.run(command, [], asker)
        if (outcome.columns !== null) this.#describe(outcome, [])
        this.#tell(command, outcome, [])
      }
    } catch (error) {
      this.#fail(toPgError(error))
    }
    this.#ready()
  }

  // ---- the extended protocol

  #extended(code: number, bytes: Uint8Array): Promise<void> | undefined {
    switch (code) {
      case frontend.parse:
        return this.#parse(bytes)
      case frontend.bind:
        return this.#bind(bytes)
      case frontend.describe:
        return this.#describeNamed(bytes)
      case frontend.execute:
        return this.#execute(bytes)
      default: {
        const { what, name } = decodeClose(bytes)
        if (what === 'S') this.#statements.delete(name)
        else this.#portals.delete(name)
        return this.#send(writeCloseComplete)
      }
    }
  }

  #parse(bytes: Uint8Array): undefined {
    const { name, sql, paramTypes } = decodeParse(bytes)
    if (name !== nothing && this.#statements.has(name)) {
      throw pgError('preparedStatementExists', [name])
    }
    if (this.#statements.size >= statementsMax) throw pgError('adminStatements', [statementsMax])
    const commands = commandsOf(Buffer.from(sql).toString())
    const [command = null, ...others] = commands
    if (others.length > 0) throw pgError('multipleCommandsPrepared')
    if (command !== null) this.#options.commands.columnsOf(command, this.#options.asker)
    const count = Math.max(paramTypes.length, paramCountOf(commands))
    const types = Array.from({ length: count }, (_, at) => paramTypes[at] || textOid)
    this.#statements.set(name, { command, paramTypes: types })
    this.#send(writeParseComplete)
  }

  #bind(bytes: Uint8Array): undefined {
    const message = decodeBind(bytes)
    const statement = this.#statement(message.statement)
    const { command, paramTypes } = statement
    if (message.params.length !== paramTypes.length) {
      throw pgError('bindParameterCount', [
        message.params.length,
        message.statement,
        paramTypes.length,
      ])
    }
    if (this.#portals.size >= portalsMax) throw pgError('adminStatements', [portalsMax])
    const values = boundTexts(message, paramTypes)
    const formats = message.resultFormats
    this.#portals.set(message.portal, { command, paramTypes, values, formats, rest: null })
    this.#send(writeBindComplete)
  }

  #describeNamed(bytes: Uint8Array): undefined {
    const { what, name } = decodeDescribe(bytes)
    const { commands, asker } = this.#options
    const found = what === 'S' ? this.#statement(name) : this.#portal(name)
    const { command, paramTypes } = found
    if (what === 'S') this.#send((writer) => writeParameterDescription(writer, paramTypes))
    const columns = command === null ? null : commands.columnsOf(command, asker)
    if (columns === null) this.#send(writeNoData)
    else {
      const formats = what === 'P' ? this.#portal(name).formats : []
      this.#send((writer) => writeRowDescription(writer, fieldsOf(columns, formats)))
    }
  }

  async #execute(bytes: Uint8Array): Promise<void> {
    const { portal: name, maxRows } = decodeExecute(bytes)
    const portal = this.#portal(name)
    const { command, values, formats } = portal
    if (command === null) {
      this.#send(writeEmptyQueryResponse)
      return
    }
    const { commands, asker } = this.#options
    portal.rest ??= await commands.run(command, values, asker)
    const { rest } = portal
    const count = maxRows > 0 ? maxRows : rest.rows.length
    portal.rest = { ...rest, rows: rest.rows.slice(count), notices: [] }
    if (portal.rest.rows.length === 0) this.#tell(command, rest, formats)
    else {
      this.#rows({ ...rest, rows: rest.rows.slice(0, count) }, formats)
      this.#send(writePortalSuspended)
    }
  }

  #statement(name: string): Statement {
    const statement = this.#statements.get(name)
    if (statement !== undefined) return statement
    if (name === nothing) throw pgError('unnamedStatementUnknown')
    throw pgError('preparedStatementUnknown', [name])
  }

  #portal(name: string): Portal {
    const portal = this.#portals.get(name)
    if (portal === undefined) throw pgError('portalUnknown', [name])
    return portal
  }

  #failExtended(error: unknown): undefined {
    const known = toPgError(error)
    if (known.severity === 'FATAL') throw known
    this.#skipping = true
    this.#fail(known)
  }

  // ---- answers

  #tell(command: Command, outcome: Outcome, formats: readonly number[]): void {
    for (const { message, detail } of outcome.notices) {
      this.#send((writer) => {
        writeNotice(writer, { severity: 'NOTICE', sqlstate: '00000', message, detail })
      })
    }
    this.#rows(outcome, formats)
    this.#send((writer) => writeCommandComplete(writer, outcome.tag ?? command.name.toUpperCase()))
  }

  #describe({ columns }: Outcome, formats: readonly number[]): void {
    this.#send((writer) => writeRowDescription(writer, fieldsOf(columns ?? [], formats)))
  }

  #rows(
    { columns, rows }: { columns: Outcome['columns']; rows: Rows },
    formats: readonly number[],
  ) {
    if (columns === null || rows.length === 0) return
    this.#send((writer) => {
      for (const row of rows) writeDataRow(writer, encodeRow(columns, row, formats))
    })
  }

  #fail(error: PgError): void {
    this.#send((writer) => writeErrorResponse(writer, error))
  }

  #ready(): undefined {
    this.#send((writer) => writeReadyForQuery(writer, 'I'))
  }

  #send(write: (writer: Writer) => void): undefined {
    if (this.#options.socket.destroyed) return
    const writer = new Writer(256)
    write(writer)
    this.#options.outbox.append(writer.bytes())
  }
}

function isExtended(code: number): boolean {
  const { parse, bind, describe, execute, close } = frontend
  return [parse, bind, describe, execute, close].some((each) => each === code)
}
