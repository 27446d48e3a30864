// The admin console: the database "ringfence", in the simple protocol. It answers one command after the
// other, in the order of their arrival: while an action runs, what comes in waits unread.
import type { Socket } from 'node:net'
import { type PgError, pgError, toPgError } from '../core/errors.ts'
import type { Outbox } from '../pool/outbox.ts'
import {
  writeCommandComplete,
  writeDataRow,
  writeEmptyQueryResponse,
  writeErrorResponse,
  writeNotice,
  writeReadyForQuery,
  writeRowDescription,
} from '../wire/backend.ts'
import { frontend } from '../wire/codes.ts'
import type { Framer } from '../wire/framer.ts'
import { decodeQuery } from '../wire/frontend.ts'
import { Writer } from '../wire/writer.ts'

/** What stands behind the words of a command. */
export type AdminCommand = AdminView | AdminAction | AdminOrder

/** One SHOW command: its columns and, when asked, its rows. */
export type AdminView = {
  readonly kind: 'view'
  readonly columns: readonly string[]
  readonly rows: () => readonly (readonly (string | number | null)[])[]
}

/** A command that does something, and is answered when it is done. */
export type AdminAction = {
  readonly kind: 'action'
  readonly tag: string
  /** @throws PgError why it was not done */
  readonly run: (database: string, shard: string | undefined) => Promise<void>
}

/** A command of one word; what it has to say is told in notices. */
export type AdminOrder = {
  readonly kind: 'order'
  readonly tag: string
  /** @throws PgError why it was not done */
  readonly run: () => Promise<readonly string[]>
}

export type AdminOptions = {
  readonly socket: Socket
  readonly outbox: Outbox
  readonly framer: Framer
  readonly views: ReadonlyMap<string, AdminCommand>
}

const textOid = 25
/** Unread bytes beyond which the socket is not read on while an action runs. */
const unreadBytesMax = 64 * 1024

export class AdminConsole {
  readonly #options: AdminOptions
  #acting = false

  constructor(options: AdminOptions) {
    this.#options = options
  }

  received(chunk: Uint8Array): void {
    const { framer, socket } = this.#options
    framer.push(chunk)
    this.#work()
    if (this.#acting && framer.bufferedBytes > unreadBytesMax) socket.pause()
  }

  close(): void {
    this.#options.outbox.flush()
    this.#options.socket.destroySoon()
  }

  /** Answers what has come in, up to an action, whose end goes on here. */
  #work(): void {
    const { framer } = this.#options
    try {
      while (!this.#acting) {
        const frame = framer.next()
        if (frame === undefined) return
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

  #answer(sql: string): void {
    const text = sql.replace(/;\s*$/, '').trim()
    const words = wordsOf(text)
    const { views } = this.#options
    const [first = '', second = '', third] = words
    const view = words.length === 2 ? views.get(`${first} ${second}`.toLowerCase()) : undefined
    if (view?.kind === 'view') {
      this.#show(view)
      return this.#ready()
    }
    const command = views.get(first.toLowerCase())
    if (command?.kind === 'action' && second !== '' && words.length <= 3) {
      void this.#act(command.tag, async () => {
        await command.run(second, third)
        return []
      })
      return
    }
    if (command?.kind === 'order' && words.length === 1) {
      void this.#act(command.tag, command.run)
      return
    }
    if (text === '') this.#send(writeEmptyQueryResponse)
    else this.#fail(pgError('adminCommandUnknown', [text]))
    this.#ready()
  }

  async #act(tag: string, run: AdminOrder['run']): Promise<void> {
    const { socket } = this.#options
    this.#acting = true
    try {
      for (const message of await run()) {
        this.#send((writer) => {
          writeNotice(writer, { severity: 'NOTICE', sqlstate: '00000', message })
        })
      }
      this.#send((writer) => writeCommandComplete(writer, tag))
    } catch (error) {
      this.#fail(toPgError(error))
    }
    this.#acting = false
    this.#ready()
    if (socket.destroyed) return
    this.#work()
    socket.resume()
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

  #ready(): void {
    this.#send((writer) => writeReadyForQuery(writer, 'I'))
  }

  #send(write: (writer: Writer) => void): void {
    const writer = new Writer(256)
    write(writer)
    this.#options.outbox.append(writer.bytes())
  }
}

/** Words of a command; a name with blanks stands in double quotes, as in SQL. Case is kept. */
function wordsOf(text: string): readonly string[] {
  const words = text.match(/"(?:[^"]|"")*"|[^\s"]+/g) ?? []
  return words.map((word) =>
    word.startsWith('"') ? word.slice(1, -1).replaceAll('""', '"') : word,
  )
}
