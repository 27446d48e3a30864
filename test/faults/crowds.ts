// Many at once: connections that send a byte now and then, storms of connects, clients that stay idle. Whoever behaves is
// served as if they were not there.
import {
  codesOf,
  pause,
  rawClient,
  until,
  untilReady,
  value,
  withClient,
} from '../support/clients.ts'
import { startupBytes, textBytes } from '../support/frontend-bytes.ts'
import { RawConnection } from '../support/raw-connection.ts'
import type { Stack } from '../support/stack.ts'
import { newReport, type Report, tally } from './report.ts'

const byteMs = 250

/** `count` connections that dribble, half of them in their login, half behind it; `loginTimeoutMs` is the proxy's. */
export async function slowLoris(
  stack: Stack,
  { count, loginTimeoutMs }: { readonly count: number; readonly loginTimeoutMs: number },
): Promise<Report> {
  const report = newReport(`${count} slow connections`)
  const { user, database } = stack.proxy
  const startup = startupBytes(0, [
    ['user', user],
    ['database', database],
    ['application_name', 'slow'.repeat(100)],
  ])
  const query = textBytes('Q', `SELECT '${'x'.repeat(400)}'`)
  await withClient(stack.proxy, async (bystander) => {
    const half = Math.floor(count / 2)
    const inside = await Promise.all(
      Array.from({ length: half }, async () => (await rawClient(stack.proxy)).connection),
    )
    const outside = await Promise.all(
      Array.from({ length: half }, () => RawConnection.open(stack.proxy)),
    )
    const endMs = performance.now() + loginTimeoutMs + 3_000
    for (let at = 0; performance.now() < endMs; at += 1) {
      for (const connection of outside) connection.send(startup.subarray(at, at + 1))
      for (const connection of inside) connection.send(query.subarray(at, at + 1))
      if ((await value(bystander, 'SELECT 1')) !== '1') report.complaints.push('disturbed')
      await pause(byteMs)
    }
    const left = outside.filter(({ closed }) => !closed).length
    if (left > 0) report.complaints.push(`${left} are still in their login`)
    const cut = inside.filter(({ closed }) => closed).length
    if (cut > 0) report.complaints.push(`${cut} that had logged in were cut off`)
    tally(report, `cut after ${loginTimeoutMs} ms`)
    for (const connection of [...inside, ...outside]) connection.destroy()
    const gone = () => stack.instance.sessions.size === 1 && stack.poolStats().leased === 0
    await until('they are gone', gone).catch((error: unknown) => {
      report.complaints.push(String(error))
    })
  })
  return report
}

/** `count` clients that connect, ask and go in one moment: all are served. */
export async function storm(stack: Stack, count: number): Promise<Report> {
  const report = newReport(`a storm of ${count} connects`)
  const one = async (number: number): Promise<string> => {
    const { connection, greeting } = await rawClient(stack.proxy)
    if (!codesOf(greeting).endsWith('Z')) return `refused: ${codesOf(greeting)}`
    connection.send(textBytes('Q', `SELECT ${number}`))
    const answer = await untilReady(connection)
    connection.destroy()
    const own = answer.some(({ code, bytes }) => code === 'D' && bytes.includes(String(number)))
    return own ? 'served' : `answered ${codesOf(answer)}`
  }
  const outcomes = await Promise.all(
    Array.from({ length: count }, (_, at) => one(1_000_000 + at).catch(String)),
  )
  for (const outcome of outcomes) {
    tally(report, outcome)
    if (outcome !== 'served') report.complaints.push(outcome)
  }
  const gone = () => stack.instance.sessions.size === 0 && stack.poolStats().leased === 0
  await until('they are gone', gone).catch((error: unknown) => {
    report.complaints.push(String(error))
  })
  return report
}
