// PAUSE and SET of the admin console when a worker dies: its successor begins with them, whoever waits in another worker
// goes on waiting, and RESUME lets everybody go on.
import { kill, type Serving } from '../cli/pooler.ts'
import { slotOf } from '../../proxy/sessions.ts'
import {
  connected,
  pause,
  type RawClient,
  rawClient,
  rowsOf,
  until,
  untilReady,
} from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'

const clients = 24
const quietMs = 300
const mark = 'ordersstand'

/** Complaints. */
export async function ordersStand(
  serving: Serving,
  { workers, restMs }: { readonly workers: number; readonly restMs: number },
): Promise<readonly string[]> {
  const complaints: string[] = []
  const admin = await connected(serving.admin)
  const present = async () => {
    const asked = await connected(serving.admin)
    const { rows } = await asked.query<{ worker: number; pid: number }>('SHOW WORKERS')
    await asked.end()
    return new Map(rows.map(({ worker, pid }) => [worker, pid]))
  }
  const former = await present()
  const waiting = await Promise.all(Array.from({ length: clients }, () => rawClient(serving.place)))
  await admin.query('SET log.slow_statement = 0')
  await admin.query('PAUSE app')
  for (const { connection } of waiting) connection.send(textBytes('Q', `SELECT 1 AS ${mark}`))
  const victim = workerOf(waiting[0])
  kill(former.get(victim) ?? 0)
  await until(
    'the worker is replaced',
    async () => {
      const found = await present()
      return found.size === workers && found.get(victim) !== former.get(victim)
    },
    restMs,
  )
  const own = waiting.filter((each) => workerOf(each) !== victim)
  // Nobody's login ends before RESUME: there is no server yet to log in with.
  const late = Array.from({ length: clients }, () => rawClient(serving.place))
  let answered = 0
  for (const each of late) void each.then(() => (answered += 1))
  await pause(quietMs)
  complaints.push(...(await Promise.all(own.map(notWaiting))).flat())
  const next = await connected(serving.admin)
  await next.query('RESUME app')
  await Promise.all([next.end(), admin.end().catch(() => undefined)])
  const all = [...own, ...(await Promise.all(late))]
  for (const { connection } of all.slice(own.length)) {
    connection.send(textBytes('Q', `SELECT 1 AS ${mark}`))
  }
  const told = await Promise.all(all.map(({ connection }) => untilReady(connection)))
  const wrong = told.filter((each) => rowsOf(each)[0]?.[0] !== '1').length
  if (wrong > 0) complaints.push(`${wrong} clients were not answered after RESUME`)
  if (answered < clients) complaints.push('logins are still waiting')
  const line = new RegExp(`^(?=.*"worker":${victim}\\b).*${mark}.*$`, 'm')
  await serving.program
    .printed('stderr', line)
    .catch(() => complaints.push('SET is not in force in the new worker'))
  for (const { connection } of [...waiting, ...all]) connection.destroy()
  return complaints
}

/** Notices that it waits may come. */
async function notWaiting({ connection }: RawClient): Promise<string[]> {
  for (;;) {
    const arrival = await connection.next(1)
    if (arrival === 'timeout') return []
    if (arrival === 'closed') return ['a client of another worker was cut off']
    if (arrival.code !== 'N') {
      return [`a client of another worker did not wait: ${arrival.bytes.toString('latin1')}`]
    }
  }
}

function workerOf(client: RawClient | undefined): number {
  return slotOf(client?.cancelKey.readInt32BE(0) ?? 0) + 1
}
