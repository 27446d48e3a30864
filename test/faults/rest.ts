// What must be true once a fault is over: no session, server or transaction is left, and a bystander finds its settings as
// they were.
import type { Client } from 'pg'
import { askServer, until, value } from '../support/clients.ts'
import type { Stack } from '../support/stack.ts'

const restMs = 15_000

/** Setting that every conversation changes for its own session before it begins. */
export const markSql = "SET work_mem = '7MB'"

/** What is wrong, now that the client is gone; null when nothing is. `bystander` is one of `left` clients that are there. */
export async function notAtRest(stack: Stack, bystander: Client, left = 1): Promise<string | null> {
  try {
    await until('the session is gone', () => stack.instance.sessions.size === left, restMs)
    await until('its server is back', () => stack.poolStats().leased === 0, restMs)
  } catch (error) {
    const { idle, leased, opening, waiting } = stack.poolStats()
    const stats = `${idle} idle, ${leased} leased, ${opening} opening, ${waiting} waiting`
    return `${error instanceof Error ? error.message : String(error)} (${stats})`
  }
  const { waiting } = stack.poolStats()
  if (waiting > 0) return `${waiting} waiting`
  // Three times: whichever server was the client's, it is looked at.
  for (let turn = 0; turn < 3; turn += 1) {
    const found = await value(bystander, settingsSql)
    if (found !== ownSettings) return `the bystander has settings ${found}`
  }
  return null
}

/** What `settingsSql` gives to a session that has set nothing. */
export const ownSettings = '4MB 0'
export const settingsSql =
  "SELECT current_setting('work_mem') || ' ' || current_setting('statement_timeout')"

const leftSql = `SELECT count(*)
  FROM pg_stat_activity activity LEFT JOIN pg_locks locks USING (pid)
  WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    AND (xact_start IS NOT NULL OR (locks.pid IS NOT NULL AND locks.locktype <> 'virtualxid'))`

/** What PostgreSQL itself still holds for clients, at the superuser's `url`; null when it is nothing. */
export async function notReleased(url: string): Promise<string | null> {
  let found = ''
  const look = async () => {
    // A server that has crashed takes no connections at first.
    const answer = await askServer(url, leftSql).catch((error: unknown) => [String(error)])
    found = String(answer[0])
    return found === '0'
  }
  await until('nothing is held', look, restMs).catch(() => undefined)
  return found === '0' ? null : `${found} locks or transactions are still there`
}
