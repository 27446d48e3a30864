// What must be true once a fault is over: no session, server or transaction is left, and a bystander finds its settings as
// they were.
import type { Client } from 'pg'
import { until, value } from '../support/clients.ts'
import type { Stack } from '../support/stack.ts'

const restMs = 15_000

/** Setting that every conversation changes for its own session before it begins. */
export const markSql = "SET work_mem = '7MB'"

/** What is wrong, now that the client is gone; null when nothing is. `bystander` is the only client left. */
export async function notAtRest(stack: Stack, bystander: Client): Promise<string | null> {
  try {
    await until('the session is gone', () => stack.instance.sessions.size === 1, restMs)
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
    const found = await value(
      bystander,
      "SELECT current_setting('work_mem') || ' ' || current_setting('statement_timeout')",
    )
    if (found !== '4MB 0') return `the bystander has settings ${found}`
  }
  return null
}
