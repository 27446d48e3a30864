// What a checker has found: a guarantee and the two operations that cannot both be, readable for a person.
import type { History } from './history.ts'

/** What the checkers check. */
export type Guarantee =
  | 'read-your-writes'
  | 'monotonic reads'
  | 'monotonic writes'
  | 'writes follow reads'
  | 'linearizable on the primary'
  | 'value integrity'
  | 'acknowledged writes stay'

export type Violation = {
  readonly guarantee: Guarantee
  readonly what: string
  /** Operations of the history, the earlier one first; −1: there is none. */
  readonly earlier: number
  readonly later: number
}

/** What else is known of an operation, for people. */
export type NoteOf = (index: number) => string

/** One violation as text: what went wrong, then the operations a line each. */
function describeViolation(history: History, violation: Violation, noteOf: NoteOf): string {
  const { guarantee, what, earlier, later } = violation
  const lines = [earlier, later]
    .filter((index) => index >= 0)
    .map((index) => `  ${describeOperation(history, index)}${noteOf(index)}`)
  return [`${guarantee}: ${what}`, ...lines].join('\n')
}

const shownMax = 10

/** How many of each, and the first few in full. */
export function describeAll(
  history: History,
  violations: readonly Violation[],
  noteOf: NoteOf = () => '',
): string {
  const counts = new Map<string, number>()
  for (const { guarantee } of violations) counts.set(guarantee, (counts.get(guarantee) ?? 0) + 1)
  const summary = [...counts].map(([guarantee, count]) => `${guarantee}: ${count}`)
  const shown = violations
    .slice(0, shownMax)
    .map((each) => describeViolation(history, each, noteOf))
  return [...summary, ...shown].join('\n')
}

function describeOperation(history: History, index: number): string {
  const { session, kind, key, version, value, invokedMs, returnedMs, outcome, place } =
    history.at(index)
  const span = `${invokedMs.toFixed(3)}…${returnedMs.toFixed(3)} ms`
  const told = version < 0 ? 'no version told' : `version ${version}`
  const where = place === 'unknown' ? '' : ` on a ${place}`
  return `#${index} ${span} session ${session} ${kind}s key ${key}: ${told}, value ${value}, ${outcome}${where}`
}
