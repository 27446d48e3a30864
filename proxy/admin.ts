// The admin console: the database "ringfence", in the simple protocol. SHOW and nothing else so far.
import type { Socket } from 'node:net'
import { type PgError, pgError, toPgError } from '../core/errors.ts'
import type { Outbox } from '../pool/outbox.ts'
import {
  writeCommandComplete,
  writeDataRow,
  writeEmptyQueryResponse,
  writeErrorResponse,
  writeReadyForQuery,
  writeRowDescription,
} from '../wire/backend.ts'
import { frontend } from '../wire/codes.ts'
import type { Framer } from '../wire/framer.ts'
import { decodeQuery } from '../wire/frontend.ts'
import { Writer } from '../wire/writer.ts'

/** One SHOW command: its columns and, when asked, its rows. */
export type AdminView = {
  readonly columns: readonly string[]
  readonly rows: () => readonly (readonly (string | number | null)[])[]
}

export type AdminOptions = {
  readonly socket: Socket
  readonly outbox: Outbox
  readonly framer: Framer
  readonly views: ReadonlyMap<string, AdminView>
}

const textOid = 25

export class AdminConsole {
  readonly #options: AdminOptions

  constructor(options: AdminOptions) {
    this.#options = options
  }

  received(chunk: Uint8Array): void {
    const { framer } = this.#options
    try {
      framer.push(chunk)
      for (let frame = framer.next(); frame !== undefined; frame = framer.next()) {
        if (frame.code === frontend.terminate) return this.close()
        if (frame.code !== frontend.query) {
          throw pgError('protocolViolation', ['the admin console speaks the simple protocol only'])
        }
        this.#answer(Buffer.from(decodeQuery(frame.bytes)).toString())
      }
      framer.own()
    } catch (error) {
      this.#fail(toPgError(error))
      this.close()
    }
  }

  close(): void {
    this.#options.outbox.flush()
    this.#options.socket.destroySoon()
  }

  #answer(sql: string): void {
    const words = sql.replace(/;\s*$/, '').trim().toLowerCase().split(/\s+/)
    const view = words.length === 2 && words[0] === 'show' ? words[1] : undefined
    const found = view === undefined ? undefined : this.#options.views.get(view)
    if (words[0] === '') this.#send(writeEmptyQueryResponse)
    else if (found !== undefined) this.#show(found)
    else this.#fail(pgError('adminCommandUnknown', [sql.trim()]))
    this.#send((writer) => writeReadyForQuery(writer, 'I'))
  }

  #show({ columns, rows }: AdminView): void {
    this.#send((writer) => {
      writeRowDescription(
        writer,
        columns.map((name) => ({
          name,
          tableOid: 0,
          column: 0,
          typeOid: textOid,
          typeSize: -1,
          typeModifier: -1,
          format: 0,
        })),
      )
      for (const row of rows()) {
        writeDataRow(
          writer,
          row.map((value) => (value === null ? null : String(value))),
        )
      }
      writeCommandComplete(writer, 'SHOW')
    })
  }

  #fail(error: PgError): void {
    this.#send((writer) => writeErrorResponse(writer, error))
  }

  #send(write: (writer: Writer) => void): void {
    const writer = new Writer(256)
    write(writer)
    this.#options.outbox.append(writer.bytes())
  }
}
