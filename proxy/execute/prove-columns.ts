// After DDL servers prepare statements anew, and a statement may give other columns then than its client was told when it
// prepared it. PostgreSQL refuses to run it; so do we, before anything of it has run.
import type { PgError } from '../../core/errors.ts'
import { ServerError } from '../../pool/exchange.ts'
import type { ReplySink, ServerConnection } from '../../pool/server-connection.ts'
import { backend } from '../../wire/codes.ts'
import { writeDescribe, writeSync } from '../../wire/frontend.ts'
import type { Batch } from '../batch.ts'
import type { Session } from '../session.ts'
import type { ClientStatement } from '../statements.ts'
import { inject } from './inject.ts'
import { joinShard } from './join-shard.ts'

/** Asks a server what columns `batch`'s statements have now. @throws PgError the server's own error */
export async function proveColumns(session: Session, { items }: Batch): Promise<void> {
  const { state } = session
  const { database } = state
  const joined = state.transaction?.participants.keys().next().value
  const { server } = await joinShard(session, joined ?? database.home, false)
  for (const item of items) {
    if (item.kind !== 'bind') continue
    const { definitions } = database
    const { statement } = item.portal
    if (!statement.isUnproven(definitions)) continue
    statement.prove(await describeOn(session, server, statement), definitions)
  }
}

/** RowDescription or NoData of a statement, which `server` is sent if it lacks it. @throws PgError the server's error */
export function describeOn(
  session: Session,
  server: ServerConnection,
  statement: ClientStatement,
): Promise<Uint8Array> {
  const { writer } = session.context
  writer.reset()
  const parses: string[] = []
  inject(server, statement, parses, writer)
  writeDescribe(writer, 'S', statement.named ? statement.cached.name : '')
  writeSync(writer)
  return new Promise((resolve, reject) => {
    server.begin(new DescriptionSink({ server, parses, resolve, reject }))
    server.send(writer.bytes())
  })
}

type SinkOptions = {
  readonly server: ServerConnection
  readonly parses: string[]
  readonly resolve: (description: Uint8Array) => void
  readonly reject: (error: PgError) => void
}

/** Waits for RowDescription or NoData. */
class DescriptionSink implements ReplySink {
  readonly rows = 'whole'
  readonly #options: SinkOptions
  #description: Uint8Array = new Uint8Array()
  #failure: PgError | null = null

  constructor(options: SinkOptions) {
    this.#options = options
  }

  slice(): void {}

  frame(code: number, bytes: Uint8Array): void {
    const { server, parses, resolve, reject } = this.#options
    if (code === backend.parseComplete) parses.shift()
    if (code === backend.rowDescription || code === backend.noData) {
      this.#description = Uint8Array.from(bytes)
    }
    if (code === backend.errorResponse) {
      this.#failure = new ServerError(bytes)
      for (const name of parses) server.prepared.delete(name)
    }
    if (code !== backend.readyForQuery) return
    if (this.#failure === null) resolve(this.#description)
    else reject(this.#failure)
  }

  lost(error: PgError): void {
    this.#options.reject(error)
  }
}
