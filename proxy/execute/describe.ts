// Describe of a prepared statement outside a one-shard pipeline: any server knows its types.
import type { ReplySink, ServerConnection } from '../../pool/server-connection.ts'
import type { SessionCommand } from '../../router/plan.ts'
import type { PgError } from '../../core/errors.ts'
import { backend } from '../../wire/codes.ts'
import { writeNoData } from '../../wire/backend.ts'
import { writeDescribe, writeParse, writeSync } from '../../wire/frontend.ts'
import { ServerError } from '../../pool/exchange.ts'
import type { Session } from '../session.ts'
import type { Writer } from '../../wire/writer.ts'
import type { ClientStatement } from '../statements.ts'
import { inject } from './inject.ts'
import { joinShard } from './join-shard.ts'
import { executeSql, prepareOn } from './sql-prepare.ts'

/** Commands that a failed transaction still describes: they have neither parameters nor rows. */
const withoutRows: ReadonlySet<string> = new Set([
  'begin',
  'commit',
  'rollback',
  'rollbackTo',
  'discardAll',
  'deallocate',
])

/** Forwards ParameterDescription and RowDescription or NoData. @throws PgError the server's error. */
export async function runDescribeStatement(
  session: Session,
  statement: ClientStatement,
): Promise<void> {
  const { state } = session
  const plan = state.plan(state.preparedNow(statement), 0, null)
  if (plan.kind === 'session' && withoutRows.has(plan.command.kind)) {
    session.output.emit(writeNoParameters)
    return session.output.emit(writeNoData)
  }
  if (state.transaction?.failed === true) throw state.aborted
  const joined = state.transaction?.participants.keys().next().value
  const { server } = await joinShard(session, joined ?? state.database.home, false)
  const { writer } = session.context
  writer.reset()
  const parses: string[] = []
  const { command } = plan.kind === 'session' ? plan : { command: null }
  if (command?.kind === 'execute') {
    await parseExecute(session, server, statement, command)
    writeDescribe(writer, 'S', '')
  } else {
    if (!statement.meansTheSame(state.effective)) await prepareOn(session, server, statement)
    writer.reset()
    inject(server, statement, parses, writer)
    writeDescribe(writer, 'S', statement.named ? statement.cached.name : '')
  }
  writeSync(writer)
  await new Promise<void>((resolve, reject) => {
    let failure: PgError | null = null
    const sink: ReplySink = {
      rows: 'whole',
      slice: () => {},
      frame: (code, bytes) => {
        if (code === backend.parseComplete) parses.shift()
        else if (code === backend.errorResponse) {
          failure = new ServerError(bytes)
          for (const name of parses) server.prepared.delete(name)
        } else if (code === backend.readyForQuery) {
          if (failure === null) resolve()
          else reject(failure)
        } else if (code !== backend.parameterStatus) session.output.forward(bytes)
      },
      lost: reject,
    }
    server.begin(sink)
    server.send(writer.bytes())
  })
}

/** What EXECUTE gives is what the statement gives that it names. @throws PgError the server's error */
async function parseExecute(
  session: Session,
  server: ServerConnection,
  { cached }: ClientStatement,
  command: Extract<SessionCommand, { kind: 'execute' }>,
): Promise<void> {
  const executed = session.state.statements.get(command.name)
  if (executed !== undefined) await prepareOn(session, server, executed)
  const { writer } = session.context
  writer.reset()
  const sql = Buffer.from(cached.sql).toString()
  const text = executed === undefined ? sql : executeSql(sql, command, executed)
  writeParse(writer, '', Buffer.from(text), cached.paramTypes)
  server.unnamed = null
}

function writeNoParameters(writer: Writer): void {
  writer.begin(backend.parameterDescription)
  writer.i16(0)
  writer.end()
}
