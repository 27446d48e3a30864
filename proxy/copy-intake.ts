// COPY … FROM STDIN, the client's side of it: while a COPY is on, the client's messages go to whoever runs it:
// the one server that works for the session, or a step of our own that reads message by message.
import { assert } from '../core/assert.ts'
import { type PgError, pgError } from '../core/errors.ts'
import type { ServerConnection } from '../pool/server-connection.ts'
import { frontend } from '../wire/codes.ts'
import type { Frame } from '../wire/framer.ts'

/** What the message means for the session. */
export type CopyTurn =
  /** More is expected. */
  | 'more'
  /** The client has sent all, or has given up: the answer is due. */
  | 'ended'
  /** The step that reads is at work on it. */
  | 'taken'
  | 'terminate'

type Reader = {
  readonly resolve: (frame: Frame) => void
  readonly reject: (error: PgError) => void
}

export class CopyIntake {
  #reader: Reader | null = null
  /** A Sync was sent with the Execute of the COPY: in copy-in mode it is not answered. */
  syncIgnored = false

  get reading(): boolean {
    return this.#reader !== null
  }

  /** The next CopyData, CopyDone or CopyFail, owned. @throws PgError when the client goes */
  read(): Promise<Frame> {
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject }
    })
  }

  /** The client is gone: whoever reads must stop. */
  abandon(): void {
    this.#reader?.reject(pgError('shuttingDown'))
    this.#reader = null
  }

  /** Takes one message for the reader, or for `server`. @throws PgError 08P01 on any other message */
  take({ code, bytes }: Frame, server: ServerConnection | null): CopyTurn {
    switch (code) {
      case frontend.copyData:
      case frontend.copyDone:
      case frontend.copyFail:
        return this.#pass({ code, bytes }, server)
      case frontend.flush:
      case frontend.sync:
        return 'more'
      case frontend.terminate:
        return 'terminate'
      default:
        throw pgError('protocolViolation', [`message type ${code} during COPY from stdin`])
    }
  }

  #pass({ code, bytes }: Frame, server: ServerConnection | null): CopyTurn {
    const reader = this.#reader
    if (reader !== null) {
      this.#reader = null
      reader.resolve({ code, bytes: Uint8Array.from(bytes) })
      return 'taken'
    }
    assert(server !== null, 'COPY data has a server')
    server.send(bytes)
    return code === frontend.copyData ? 'more' : 'ended'
  }
}
