// One statement on its way to servers by steps of our own: a simple query's text, or the Bind, Describe and
// Execute of one portal. Sent to one server or to many; each time it is an exchange of its own.
import { type PgError, pgError } from '../../core/errors.ts'
import type { ReplySink, ServerConnection } from '../../pool/server-connection.ts'
import type { Plan } from '../../router/plan.ts'
import type { BoundParams, Prepared } from '../../router/router.ts'
import { decodeCommandComplete } from '../../wire/backend.ts'
import { backend } from '../../wire/codes.ts'
import {
  writeCopyFail,
  writeDescribe,
  writeExecute,
  writeParse,
  writeQuery,
  writeRenamedBind,
  writeSync,
} from '../../wire/frontend.ts'
import { Writer } from '../../wire/writer.ts'
import { ServerError } from '../../pool/exchange.ts'
import type { Session } from '../session.ts'
import type { Portal } from '../statements.ts'
import { inject } from './inject.ts'
import type { ResultHeader } from './result-header.ts'
import type { RowGate } from './row-gate.ts'

export type Unit = {
  readonly plan: Plan
  readonly prepared: Prepared
  readonly index: number
  readonly params: BoundParams | null
  /** The statement, padded so that error positions are those of the whole string. */
  readonly sql: string
  /** Null for a simple query. */
  readonly extended: ExtendedUnit | null
}

type ExtendedUnit = {
  readonly portal: Portal
  readonly portalName: string
  /** The client waits for BindComplete. */
  readonly bind: boolean
  /** The client waits for RowDescription or NoData. */
  readonly describe: boolean
  readonly execute: boolean
  /** 0 = all. PostgreSQL heeds it only where there are rows. */
  readonly maxRows: number
}

export type Outcome = {
  readonly error: PgError | null
  readonly tag: string
  /** CommandComplete as it came; null for an empty query or a suspended portal. */
  readonly complete: Uint8Array | null
  /** What of the answer has been passed on. */
  readonly told: 'nothing' | 'header' | 'rows'
}

/** What becomes of the replies: `all` to the client, `rows` without their header, or nothing. */
type Audience = 'all' | 'rows' | 'nobody'

export type UnitOptions = {
  readonly audience: Audience
  /** Replaces the statement's text. */
  readonly sql?: string | undefined
  /** Of a statement on several servers: rows wait until their header has gone out. */
  readonly gate?: RowGate | undefined
  /** Of a result that comes in parts: what the client has been told of its columns. */
  readonly header?: ResultHeader | undefined
}

/** Runs `unit` on `server`; errors are in the outcome, never thrown. `sql` replaces the statement's text. */
export function runUnit(
  session: Session,
  server: ServerConnection,
  unit: Unit,
  options: UnitOptions,
): Promise<Outcome> {
  const { writer } = session.context
  writer.reset()
  const parses: string[] = []
  if (unit.extended === null) {
    writeQuery(writer, options.sql ?? unit.sql)
    server.unnamed = null
  } else {
    const { portal, portalName } = unit.extended
    const { statement } = portal
    if (options.sql !== undefined) {
      writeParse(writer, '', Buffer.from(options.sql), statement.cached.paramTypes)
      server.unnamed = null
      writeRenamedBind(writer, portal.bindFrame, '')
    } else {
      const { traffic } = session.times
      if (inject(server, statement, parses, writer)) traffic.serverParses += 1
      if (statement.named) traffic.binds += 1
      writeRenamedBind(writer, portal.bindFrame, statement.named ? statement.cached.name : '')
    }
    if (unit.extended.describe) writeDescribe(writer, 'P', portalName)
    if (unit.extended.execute) writeExecute(writer, portalName, unit.extended.maxRows)
    writeSync(writer)
  }
  return new Promise((resolve) => {
    server.begin(new UnitSink(session, server, { ...options, unit, parses, resolve }))
    server.send(writer.bytes())
  })
}

type SinkOptions = {
  readonly unit: Unit
  readonly audience: Audience
  readonly gate?: RowGate | undefined
  readonly header?: ResultHeader | undefined
  readonly parses: string[]
  readonly resolve: (outcome: Outcome) => void
}

class UnitSink implements ReplySink {
  readonly rows = 'whole'
  readonly #session: Session
  readonly #server: ServerConnection
  readonly #options: SinkOptions
  #error: PgError | null = null
  #complete: Uint8Array | null = null
  #told: Outcome['told'] = 'nothing'

  constructor(session: Session, server: ServerConnection, options: SinkOptions) {
    this.#session = session
    this.#server = server
    this.#options = options
  }

  slice(): void {}

  frame(code: number, bytes: Uint8Array): void {
    switch (code) {
      case backend.readyForQuery:
        return this.#finish()
      case backend.errorResponse:
        this.#error ??= this.#counted(new ServerError(bytes))
        for (const name of this.#options.parses) this.#server.prepared.delete(name)
        return
      case backend.parseComplete:
        this.#options.parses.shift()
        return
      case backend.commandComplete:
        this.#complete = Uint8Array.from(bytes)
        return
      case backend.parameterStatus:
        if (this.#options.audience === 'all') this.#session.output.parameterReported(bytes)
        return
      case backend.copyInResponse:
        return refuseCopyIn(this.#server)
      case backend.portalSuspended:
        this.#suspended()
        break
      case backend.rowDescription:
        if (this.#options.header?.accepts(bytes) === false) {
          this.#error = pgError('resultChanged')
          return
        }
        break
      case backend.dataRow:
        if (this.#error !== null) return
        break
      default:
    }
    this.#tell(code, bytes)
  }

  #tell(code: number, bytes: Uint8Array): void {
    if (this.#hears(code)) {
      const header = code === backend.rowDescription || code === backend.bindComplete
      if (!header) this.#told = 'rows'
      else if (this.#told === 'nothing') this.#told = 'header'
      this.#forward(bytes)
    }
    if (this.#opensGate(code)) this.#options.gate?.open()
  }

  lost(error: PgError): void {
    this.#options.resolve({
      error: this.#error ?? error,
      tag: '',
      complete: null,
      told: this.#told,
    })
  }

  /** It stays open there as long as the transaction does. */
  #suspended(): void {
    const { extended } = this.#options.unit
    if (extended === null || this.#session.state.transaction === null) return
    extended.portal.shard = this.#server.shard
  }

  #hears(code: number): boolean {
    const { audience, unit } = this.#options
    if (audience === 'nobody' || this.#session.closed) return false
    switch (code) {
      case backend.bindComplete:
        return audience === 'all' && unit.extended?.bind === true
      case backend.rowDescription:
      case backend.noData:
        return audience === 'all' && (unit.extended === null || unit.extended.describe)
      default:
        return true
    }
  }

  #forward(bytes: Uint8Array): void {
    this.#session.replies.load?.forwarded(bytes.length)
    const { gate, audience } = this.#options
    if (gate === undefined || audience === 'all') this.#session.output.forward(bytes)
    else gate.pass(bytes, this.#server)
  }

  /** The last message before the rows, on the server whose header the client gets. */
  #opensGate(code: number): boolean {
    const { audience, unit } = this.#options
    if (audience !== 'all') return false
    const described = unit.extended === null || unit.extended.describe
    return code === (described ? backend.rowDescription : backend.bindComplete)
  }

  #counted(error: ServerError): ServerError {
    this.#session.times.traffic.countError(error.sqlstate)
    return error
  }

  #finish(): void {
    this.#session.times.served(this.#server.shard)
    if (this.#error === null && this.#options.audience === 'all') this.#options.gate?.open()
    const complete = this.#complete
    const tag = complete === null ? '' : decodeCommandComplete(complete)
    this.#options.resolve({ error: this.#error, tag, complete, told: this.#told })
  }
}

/** Steps take the COPY data of sharded tables only; any other COPY FROM STDIN stands alone. */
function refuseCopyIn(server: ServerConnection): void {
  const writer = new Writer(128)
  writeCopyFail(writer, 'COPY FROM STDIN must be the only statement of its string or pipeline')
  server.send(writer.bytes())
}
