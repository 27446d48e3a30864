// One question to a server off the hot path: a promise of its rows and tags, or of its error.
import { PgError } from '../core/errors.ts'
import type { ReplySink, ServerConnection } from './server-connection.ts'
import { decodeCommandComplete, decodeDataRow, decodeErrorFields } from '../wire/backend.ts'
import { backend } from '../wire/codes.ts'
import { writeQuery } from '../wire/frontend.ts'
import { Writer } from '../wire/writer.ts'

/** A server's own ErrorResponse, kept as it came so that the client gets it unchanged. */
export class ServerError extends PgError {
  readonly frame: Uint8Array

  constructor(frame: Uint8Array) {
    const fields = decodeErrorFields(frame)
    const position = fields.get('P')
    super(fields.get('M') ?? '', {
      sqlstate: fields.get('C') ?? 'XX000',
      detail: fields.get('D'),
      hint: fields.get('H'),
      position: position === undefined ? undefined : Number(position),
    })
    this.frame = Uint8Array.from(frame)
  }
}

export type Answer = {
  readonly rows: readonly (readonly (string | null)[])[]
  readonly tags: readonly string[]
}

/** Swallows the replies of one exchange and hands over what they said at ReadyForQuery. */
export class AnswerSink implements ReplySink {
  readonly rows = 'whole'
  readonly #done: (error: PgError | null, answer: Answer) => void
  readonly #rows: (string | null)[][] = []
  readonly #tags: string[] = []
  #error: PgError | null = null

  constructor(done: (error: PgError | null, answer: Answer) => void) {
    this.#done = done
  }

  slice(): void {}

  frame(code: number, bytes: Uint8Array): void {
    if (code === backend.errorResponse) this.#error ??= new ServerError(bytes)
    else if (code === backend.commandComplete) this.#tags.push(decodeCommandComplete(bytes))
    else if (code === backend.dataRow) {
      const text = (value: Uint8Array | null) =>
        value === null ? null : Buffer.from(value).toString()
      this.#rows.push(decodeDataRow(bytes).map(text))
    } else if (code === backend.readyForQuery) {
      this.#done(this.#error, { rows: this.#rows, tags: this.#tags })
    }
  }

  lost(error: PgError): void {
    this.#done(error, { rows: [], tags: [] })
  }
}

/** The answer to what puts a server in the state that its client's statement expects. */
export class PreparingSink extends AnswerSink {
  #waiting: (() => void)[] | null = null

  /** Resolves when the server has answered, or is lost. */
  get over(): Promise<void> {
    this.#waiting ??= []
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiting.push(resolve)
    return promise
  }

  override frame(code: number, bytes: Uint8Array): void {
    super.frame(code, bytes)
    if (code === backend.readyForQuery) this.#end()
  }

  override lost(error: PgError): void {
    super.lost(error)
    this.#end()
  }

  #end(): void {
    for (const resolve of this.#waiting ?? []) resolve()
  }
}

/** Sends `sql` as a simple query behind what the server already has to do. */
export function sendQuery(
  server: ServerConnection,
  sql: string | Uint8Array,
  sink: ReplySink,
): void {
  const writer = new Writer(sql.length + 16)
  writeQuery(writer, sql)
  // A simple query destroys the server's unnamed statement.
  server.unnamed = null
  server.begin(sink)
  server.send(writer.bytes())
}

/** Asks `server` and waits for the answer. @throws PgError what the server said, or 08006 when it died. */
export function ask(server: ServerConnection, sql: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sink = new AnswerSink((error, answer) =>
      error === null ? resolve(answer) : reject(error),
    )
    sendQuery(server, sql, sink)
  })
}

/** The same error for a statement that stands `characters` into its string. */
export function shiftPosition(error: ServerError, characters: number): ServerError {
  const fields = new Map(decodeErrorFields(error.frame))
  const position = fields.get('P')
  if (position === undefined) return error
  fields.set('P', String(Number(position) + characters))
  const writer = new Writer(error.frame.length + 8)
  writer.begin(backend.errorResponse)
  for (const [field, value] of fields) {
    writer.u8(field.charCodeAt(0))
    writer.cstring(value)
  }
  writer.u8(0)
  writer.end()
  return new ServerError(writer.bytes())
}
