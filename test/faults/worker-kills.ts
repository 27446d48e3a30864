// Worker processes that are killed while their clients are at every message boundary of every conversation: those clients
// see the end of their connection and nothing else, the clients of the other worker finish, and nothing stays behind.
import type { Client } from 'pg'
import { slotOf } from '../../proxy/sessions.ts'
import { createPooler, kill, type Serving } from '../cli/pooler.ts'
import { askServer, connected, rawClient, until, untilReady, value } from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import type { RawConnection } from '../support/raw-connection.ts'
import { runSql } from '../support/stack.ts'
import type { TestServers } from '../support/servers.ts'
import { wrongRow } from './client-cuts.ts'
import { type Conversation, conversations, conversationSetup, readiesOf } from './conversation.ts'
import { playUntil, type Stop, stopsOf } from './play.ts'
import { portsOf } from './process-ports.ts'
import { newReport, type Report, type Share, tally } from './report.ts'
import { markSql, notReleased, ownSettings, settingsSql } from './rest.ts'
import { ordersStand } from './worker-orders.ts'

const workers = 2
// About half of them are the victim's.
const clientsPerRound = 40
const restMs = 20_000

type Case = {
  readonly conversation: Conversation
  readonly stop: Stop
  readonly waits: boolean
  readonly id: string
}

type Player = Case & { readonly connection: RawConnection; readonly worker: number }

type Run = {
  readonly serving: Serving
  readonly admin: Client
  /** The superuser's. */
  readonly url: string
  readonly report: Report
}

/** A proxy of two workers, as a program. */
export async function killWorkers(servers: TestServers, share: Share): Promise<Report> {
  const report = newReport('workers that are killed')
  const pooler = await createPooler(servers, {
    lines: `workers: ${workers}`,
    pool: `{ size: ${workers * clientsPerRound}, max_client_conn: 400 }`,
  })
  try {
    const serving = await pooler.serve()
    await runSql(serving.place, conversationSetup)
    let left = casesOf().filter(share)
    for (let round = 0; left.length > 0; round += 1) {
      const admin = await connected(serving.admin)
      const run = { serving, admin, url: pooler.url, report }
      const done = await playRound(run, left.slice(0, clientsPerRound), round)
      left = left.filter((each) => !done.has(each))
      await admin.end().catch(() => undefined)
    }
    report.complaints.push(...(await ordersStand(serving, { workers, restMs })))
  } finally {
    await pooler.remove()
  }
  return report
}

function casesOf(): readonly Case[] {
  return conversations.flatMap((conversation) => {
    const messages = conversation.turns('').flatMap((turn) => turn.messages)
    const stops = stopsOf(messages).filter(({ bytes }) => bytes === 0)
    return [true, false].flatMap((waits) => {
      return stops.map((stop) => {
        const id = `worker-${conversation.name}-${stop.messages}-${waits}`
        return { conversation, stop, waits, id }
      })
    })
  })
}

/** Gives those whose worker was killed; the others were played to their end, and their rows are removed. */
async function playRound(
  run: Run,
  cases: readonly Case[],
  round: number,
): Promise<ReadonlySet<Case>> {
  const { admin, url, report } = run
  const pids = await workersOf(admin)
  const victim = 1 + (round % workers)
  const players = await Promise.all(cases.map((each) => begin(run, each)))
  await Promise.all(players.map(stopThere))
  const before = await serversOf(url)
  const lost = new Set(portsOf(pids.get(victim) ?? 0))
  const orphans = before.filter(({ port }) => lost.has(port)).map(({ pid }) => pid)
  if (orphans.length === 0) report.complaints.push(`round ${round}: worker ${victim} had no server`)
  kill(pids.get(victim) ?? 0)
  const complaints = await Promise.all(
    players.map(async (player) => {
      const wrong = await (player.worker === victim ? ends(player) : finishes(player))
      tally(report, player.worker === victim ? 'ended' : 'finished')
      return wrong === null ? [] : [`${player.id}, round ${round}: ${wrong}`]
    }),
  )
  report.complaints.push(...complaints.flat(), ...(await settled(run, orphans, pids)))
  const played = new Set<Case>(cases.filter((_, at) => players[at]?.worker === victim))
  for (const player of players) {
    const wrong = await rowOf(run, player, player.worker === victim)
    if (wrong !== null) report.complaints.push(`${player.id}, round ${round}: ${wrong}`)
    player.connection.destroy()
  }
  return played
}

async function begin({ serving }: Run, one: Case): Promise<Player> {
  const { connection, cancelKey } = await rawClient(serving.place)
  connection.send(textBytes('Q', markSql))
  await untilReady(connection)
  // Workers of the first generation have the slots from 0 on.
  return { ...one, connection, worker: slotOf(cancelKey.readInt32BE(0)) + 1 }
}

async function stopThere({ connection, conversation, id, stop, waits }: Player): Promise<void> {
  await playUntil(connection, conversation.turns(id), { stop, waits })
}

/** The connection ends without an error message before. */
async function ends({ connection, conversation }: Player): Promise<string | null> {
  const given = conversation.name.includes('given up')
  for (;;) {
    const arrival = await connection.next(restMs)
    if (arrival === 'closed') return null
    if (arrival === 'timeout') return 'its worker was killed, and the connection is still there'
    if (arrival.code === '!') return 'it was sent something that is no message'
    if (arrival.code === 'E' && !given) return `it was told ${arrival.bytes.toString('latin1')}`
  }
}

/** The rest of the conversation, and the settings that the client has made. */
async function finishes(player: Player): Promise<string | null> {
  const { connection, conversation, id, stop, waits } = player
  const turns = conversation.turns(id)
  connection.send(Buffer.concat(turns.flatMap(({ messages }) => messages).slice(stop.messages)))
  const given = conversation.name.includes('given up')
  let readies = readiesOf(turns) - readiesTaken(player, waits)
  while (readies > 0) {
    const arrival = await connection.next(restMs)
    if (typeof arrival === 'string') return `${arrival} in the middle of its conversation`
    if (arrival.code === 'E' && !given) return arrival.bytes.toString('latin1')
    if (arrival.code === 'Z') readies -= 1
  }
  connection.send(textBytes('Q', settingsSql))
  const answer = await untilReady(connection)
  const own = answer.some(({ code, bytes }) => code === 'D' && bytes.includes('7MB 0'))
  return own ? null : 'it has lost its settings'
}

/** ReadyForQuery messages that `playUntil` has taken. */
function readiesTaken({ conversation, stop }: Player, waits: boolean): number {
  if (!waits) return 0
  const turns = conversation.turns('')
  let sent = 0
  const whole = turns.filter(({ messages }) => (sent += messages.length) <= stop.messages)
  const last = whole.findLastIndex(({ until: awaited }) => awaited === 'Z')
  return readiesOf(whole.slice(0, last + 1))
}

/** Everybody serves again, the dead worker's servers are gone, and nobody's settings are found on others. */
async function settled(
  { serving, url, report }: Run,
  orphans: readonly string[],
  former: ReadonlyMap<number, number>,
): Promise<string[]> {
  const complaints: string[] = []
  const startedMs = performance.now()
  const complain = (error: unknown) => void complaints.push(String(error))
  const leftOf = async () => (await serversOf(url)).filter(({ pid }) => orphans.includes(pid))
  const gone = async () => (await leftOf()).length === 0
  await until('the servers of the dead worker are gone', gone, restMs).catch(complain)
  const held = await notReleased(url)
  if (held !== null) complaints.push(held)
  const complete = async () => {
    const admin = await connected(serving.admin)
    const present = await workersOf(admin)
    await admin.end()
    return present.size === workers && [...former].some(([at, pid]) => present.get(at) !== pid)
  }
  await until('all workers serve', complete, restMs).catch(complain)
  if (performance.now() - startedMs > slowMs) tally(report, 'complete again later than 7 s')
  const clients = await Promise.all(Array.from({ length: 8 }, () => connected(serving.place)))
  const found = await Promise.all(clients.map((client) => value(client, settingsSql)))
  await Promise.all(clients.map((client) => client.end()))
  if (found.some((each) => each !== ownSettings))
    complaints.push(`settings have leaked: ${found.join(', ')}`)
  return complaints
}

// The longest pause before a worker is started again, and the start.
const slowMs = 7_000

async function rowOf({ url }: Run, player: Player, died: boolean): Promise<string | null> {
  const { conversation, id, stop, waits } = player
  const sql = `WITH gone AS (DELETE FROM kept WHERE id = $1 OR id = $1 || '-2' RETURNING id)
               SELECT count(*) FROM gone WHERE id = $1`
  const [found = null] = await askServer(url, sql, [id])
  if (died) return wrongRow(conversation, { stop, waits, found })
  const wanted = conversation.commits === null ? '0' : '1'
  return found === wanted ? null : `it has finished, and its row is there ${found} times`
}

/** Process numbers of the workers by their own. */
async function workersOf(admin: Client): Promise<ReadonlyMap<number, number>> {
  const { rows } = await admin.query<{ worker: number; pid: number }>('SHOW WORKERS')
  return new Map(rows.map(({ worker, pid }) => [worker, pid]))
}

type Server = { readonly pid: string; readonly port: number }

/** What PostgreSQL has for clients in this database, and from which port each was connected to. */
async function serversOf(url: string): Promise<readonly Server[]> {
  const found = await askServer(
    url,
    `SELECT pid || ' ' || client_port FROM pg_stat_activity
     WHERE datname = current_database() AND backend_type = 'client backend'
       AND pid <> pg_backend_pid()`,
  )
  return found.map((text) => {
    const [pid = '', port = ''] = (text ?? '').split(' ')
    return { pid, port: Number(port) }
  })
}
