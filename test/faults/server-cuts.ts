// Servers that die at every byte that matters of what they answer: the client is told the truth, a commit that was
// acknowledged is there, everything else at most once, and client, pool and bystander go on.
import type { Client } from 'pg'
import { errorFields, rawClient, untilReady, value, withClient } from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import type { RawConnection } from '../support/raw-connection.ts'
import type { TestServers } from '../support/servers.ts'
import { type Stack, type StackOptions, startStack } from '../support/stack.ts'
import { type Conversation, conversations } from './conversation.ts'
import { type Cut, CuttingRelay, type Direction } from './cutting-relay.ts'
import { byteMark } from './mark.ts'
import { offsetsOf, play, type Told } from './play.ts'
import { newReport, type Report, type Share, tally } from './report.ts'
import { markSql, notAtRest } from './rest.ts'

/** A stack that reaches its only server through `relay`. */
export type RelayedStack = { readonly stack: Stack; readonly relay: CuttingRelay }

/** Starts both; `close` of the stack comes before that of the relay. */
export async function startRelayed(
  servers: TestServers,
  options: Omit<StackOptions, 'shards'>,
): Promise<RelayedStack> {
  const [first] = servers.shards
  if (first === undefined) throw new Error('the tests have no servers')
  const url = new URL(first.url)
  const relay = new CuttingRelay({ host: url.hostname, port: Number(url.port) })
  await relay.listen()
  url.port = String(relay.port)
  const relayed = { ...servers, shards: [{ id: first.id, url: url.href }] }
  return { relay, stack: await startStack(relayed, { ...options, shards: 1 }) }
}

/** What a client may be told whose server was lost. */
const toldOfLoss = new Set(['08006', '08001', '40001', '25P02'])

type Case = { readonly conversation: Conversation; readonly id: string; readonly cut: Cut }

export async function cutServers(
  { stack, relay }: RelayedStack,
  name: string,
  share: Share,
): Promise<Report> {
  const report = newReport(`servers that die (${name})`)
  await withClient(stack.proxy, async (bystander) => {
    for (const conversation of conversations) {
      const offsets = offsetsOf(await record({ stack, relay }, conversation, name, 'down'))
      for (const [at, bytes] of offsets.entries()) {
        if (!share()) continue
        const id = `${name}-${conversation.name}-${at}`
        const end = { kind: at % 2 === 0 ? 'rst' : 'fin' } as const
        const cut = { direction: 'down', mark: byteMark(bytes), end, fresh: false } as const
        const complaint = await playOne(
          { stack, relay },
          { conversation, id, cut },
          bystander,
          report,
        )
        if (complaint !== null) report.complaints.push(`${id} (byte ${bytes}): ${complaint}`)
      }
    }
  })
  return report
}

/** What its server says, or is told, in a whole conversation, without the marking setting. */
export async function record(
  { stack, relay }: RelayedStack,
  { name: what, turns }: Conversation,
  name: string,
  direction: Direction,
): Promise<Buffer> {
  const connection = await marked(stack)
  relay.record(direction, false)
  await play(connection, turns(`${name}-${what}-recorded`))
  connection.destroy()
  const bytes = relay.recorded()
  if (bytes.length === 0) throw new Error(`nothing was recorded of ${what}`)
  return bytes
}

/** A client that has set the marking setting. */
export async function marked(stack: Stack): Promise<RawConnection> {
  const { connection } = await rawClient(stack.proxy)
  connection.send(textBytes('Q', markSql))
  await untilReady(connection)
  return connection
}

async function playOne(
  { stack, relay }: RelayedStack,
  { conversation, id, cut }: Case,
  bystander: Client,
  report: Report,
): Promise<string | null> {
  const connection = await marked(stack)
  relay.arm(cut)
  const told = await play(connection, conversation.turns(id))
  tally(report, told.sqlstate ?? (told.complete ? 'complete' : told.end))
  relay.disarm()
  const ended = told.end === 'closed'
  const wrong = wrongly(told, conversation) ?? (ended ? null : await goesOn(connection, told))
  connection.destroy()
  const rest = await notAtRest(stack, bystander)
  const found = await value(bystander, `SELECT count(*) FROM kept WHERE id = '${id}'`)
  return wrong ?? rest ?? wrongRow(told, conversation, found)
}

/** What should not have been told to the client; null when all was right. */
export function wrongly(told: Told, { name }: Conversation): string | null {
  const heard = `${told.codes} ${told.sqlstate} ${told.message}`
  // A pinned session would have ended; none of the conversations pins.
  // In the middle of a row nothing else can be said than the end, as PostgreSQL's own clients hear it.
  if (told.end === 'closed' && told.inRow) return null
  if (told.end !== 'ready') return `${told.end} after ${heard}`
  if (told.complete || told.sqlstate === null) return null
  if (name.includes('given up') && told.sqlstate === '57014') return null
  return toldOfLoss.has(told.sqlstate) ? null : heard
}

/** The session serves on, once its transaction is ended, with its own settings; else what is wrong. */
export async function goesOn(connection: RawConnection, { status }: Told): Promise<string | null> {
  if (status !== 'I') {
    connection.send(textBytes('Q', 'ROLLBACK'))
    await untilReady(connection)
  }
  connection.send(textBytes('Q', 'SHOW work_mem'))
  const answer = await untilReady(connection)
  const own = answer.some(({ code, bytes }) => code === 'D' && bytes.includes('7MB'))
  const { C: sqlstate = '', M: message = '' } = errorFields(answer)
  return own ? null : `cannot go on: ${sqlstate} ${message}`
}

/** What is wrong with the row, of which `found` are there. */
export function wrongRow(
  told: Told,
  { commits, name }: Conversation,
  found: string | null,
): string | null {
  if (found !== '0' && found !== '1') return `its row is there ${found} times`
  if (commits === null) return found === '0' ? null : 'its row is there'
  if (told.complete && found !== '1') return 'it was told of success, and the row is missing'
  const undone = name === 'transaction' && !told.tags.includes('COMMIT') && told.codes.length < 12
  // The COMMIT was not sent: the conversation stopped at the error before it.
  return undone && found === '1' ? 'a transaction without COMMIT was kept' : null
}
