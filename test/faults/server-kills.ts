// Server processes that are killed, or ended by an administrator, after every message that they take or send. SIGKILL takes
// all servers of that PostgreSQL along: everybody goes on once it has recovered, and what was open is undone. SIGTERM,
// which pg_terminate_backend sends, takes one: nobody else notices.
import type { Client } from 'pg'
import { processIdentity, signalProcess } from '../../demo/process.ts'
import { refusal, until, value, withPair } from '../support/clients.ts'
import { type Conversation, conversations } from './conversation.ts'
import type { Cut, Direction } from './cutting-relay.ts'
import { messageMark, messagesIn } from './mark.ts'
import { play } from './play.ts'
import { newReport, type Report, type Share, tally } from './report.ts'
import { notAtRest, notReleased } from './rest.ts'
import { goesOn, marked, type RelayedStack, record, wrongly, wrongRow } from './server-cuts.ts'

/** A fault, and where in the stream it happens. */
type Fault = {
  readonly name: string
  readonly signal: 'SIGKILL' | 'SIGTERM'
  readonly direction: Direction
  /** Time that the server has for what it was sent. */
  readonly afterMs: number
}

const faults: readonly Fault[] = [
  { name: 'killed as it is asked', signal: 'SIGKILL', direction: 'up', afterMs: 0 },
  { name: 'killed as it answers', signal: 'SIGKILL', direction: 'down', afterMs: 0 },
  { name: 'ended as it is asked', signal: 'SIGTERM', direction: 'up', afterMs: 0 },
  { name: 'ended once it was asked', signal: 'SIGTERM', direction: 'up', afterMs: 20 },
]

type Case = {
  readonly fault: Fault
  readonly conversation: Conversation
  readonly messages: number
  readonly id: string
}

type Others = {
  readonly bystander: Client
  /** Has a transaction open meanwhile. */
  readonly holder: Client
}

/** A stack over a server of its own, whose statements wait for it to recover. */
export async function killServers(
  relayed: RelayedStack,
  name: string,
  share: Share,
): Promise<Report> {
  const report = newReport(`server processes that are killed (${name})`)
  await withPair(relayed.stack.proxy, async (bystander, holder) => {
    for (const one of await casesOf(relayed, name)) {
      if (!share()) continue
      const complaint = await playOne(relayed, one, { bystander, holder }, report)
      if (complaint !== null) report.complaints.push(`${one.id}: ${complaint}`)
    }
  })
  return report
}

/** Every fault at every boundary of every conversation. */
async function casesOf(relayed: RelayedStack, name: string): Promise<readonly Case[]> {
  const cases: Case[] = []
  for (const conversation of conversations) {
    const counts = {
      up: messagesIn(await record(relayed, conversation, `${name}-up`, 'up')),
      down: messagesIn(await record(relayed, conversation, `${name}-down`, 'down')),
    }
    for (const fault of faults) {
      for (let messages = 0; messages <= counts[fault.direction]; messages += 1) {
        const id = `${name}-${conversation.name}-${fault.name}-${messages}`
        cases.push({ fault, conversation, messages, id })
      }
    }
  }
  return cases
}

async function playOne(
  { stack, relay }: RelayedStack,
  { fault, conversation, messages, id }: Case,
  { bystander, holder }: Others,
  report: Report,
): Promise<string | null> {
  await holder.query('BEGIN')
  await holder.query(`INSERT INTO kept VALUES ('${id} (holder)')`)
  const held = Number(await value(holder, 'SELECT pg_backend_pid()'))
  const connection = await marked(stack)
  let killed = 0
  const { signal, direction, afterMs } = fault
  const end: Cut['end'] = {
    kind: 'kill',
    signal: (processId) => {
      // 0 would be our own process group.
      if (processId <= 1) throw new Error('it is not known which process serves')
      killed = processId
      signalProcess(processId, signal)
    },
    afterMs,
    wholly: signal === 'SIGTERM',
  }
  relay.arm({ direction, mark: messageMark(messages), end, fresh: false })
  const told = await play(connection, conversation.turns(id))
  if (!relay.armed) await until('it was killed', () => killed > 0)
  relay.disarm()
  tally(
    report,
    killed === 0 ? 'not reached' : (told.sqlstate ?? (told.complete ? 'complete' : told.end)),
  )
  const ended = told.end === 'closed'
  const wrong = wrongly(told, conversation) ?? (ended ? null : await goesOn(connection, told))
  connection.destroy()
  const crashed = killed > 0 && signal === 'SIGKILL'
  if (crashed) await until('all servers have gone', () => processIdentity(held) === null)
  const other = await endHolder(holder, crashed)
  const rest = await notAtRest(stack, bystander, 2)
  const released = await notReleased(stack.shardUrls[0] ?? '')
  const found = await value(bystander, `SELECT count(*) FROM kept WHERE id = '${id}'`)
  const others = await value(bystander, `SELECT count(*) FROM kept WHERE id = '${id} (holder)'`)
  const kept = others === other.rows ? null : `the other transaction's row is there ${others} times`
  return wrong ?? other.wrong ?? rest ?? released ?? wrongRow(told, conversation, found) ?? kept
}

/** The other transaction is lost with a crash, and told so; else it is kept. */
async function endHolder(
  holder: Client,
  crashed: boolean,
): Promise<{ readonly wrong: string | null; readonly rows: string }> {
  if (!crashed) {
    await holder.query('SELECT 1')
    await holder.query('COMMIT')
    return { wrong: null, rows: '1' }
  }
  const { code, message } = await refusal(holder.query('SELECT 1'))
  await holder.query('ROLLBACK')
  const wrong = code === '40001' ? null : `the other transaction was told ${code} ${message}`
  return { wrong, rows: '0' }
}
