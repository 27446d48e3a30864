// What an error means for a move: wait and try again, or not.
import { MoveProblem } from './move-problem.ts'
import { isPassing } from './stream/connection-lost.ts'

/** Connections that break, servers that start or stop, locks that others hold, limits that are reached for now. */
const transientStates = /^(?:08...|57P0[1234]|53...|55P03|55006|40001|40P01|25006|57014)$/
const transientCodes = /^(?:ECONN\w+|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN)$/
const transientTexts =
  /connection (?:terminated|ended|is closed|was lost)|timeout|timed out|not queryable|socket/i

/** True when the same step may succeed in a moment. */
export function isTransient(error: unknown): boolean {
  for (let each = error; each instanceof Error; each = each.cause) {
    if (each instanceof MoveProblem) return false
    if (isPassing(each)) return true
    const code = 'code' in each && typeof each.code === 'string' ? each.code : ''
    if (transientStates.test(code) || transientCodes.test(code)) return true
    if (transientTexts.test(each.message)) return true
  }
  return false
}

/** For the catalog and for people. */
export function describeFailure(error: unknown): { message: string; hint: string | null } {
  if (!(error instanceof Error)) return { message: String(error), hint: null }
  const hint = 'hint' in error && typeof error.hint === 'string' ? error.hint : null
  return { message: error.message, hint }
}
