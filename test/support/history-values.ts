// What was written is what is there: every version has one value, every value was written by one attempt, at one
// version, and not by one that was told to have failed; and what was acknowledged is in the database at the end.
import type { History } from './history.ts'
import type { VersionOrder } from './history-order.ts'
import type { Violation } from './history-violation.ts'

/** Rows of the database after the last operation. */
export type FinalState = {
  /** Every version of every key, from a table that only grows. */
  readonly log: readonly {
    readonly key: number
    readonly version: number
    readonly value: number
  }[]
  /** By key the version of the register itself. */
  readonly versions: ReadonlyMap<number, number>
}

/** Versions with two values, and values with two versions, no attempt, or one that failed. */
export function checkValues(history: History, order: VersionOrder): Violation[] {
  const violations: Violation[] = []
  const found = (what: string, earlier: number, later: number) =>
    violations.push({ guarantee: 'value integrity', what, earlier, later })
  for (let index = 0; index < history.size; index += 1) {
    if (history.isHandover(index) || !history.isOk(index)) continue
    const [key, version, value] = [history.key(index), history.version(index), history.value(index)]
    if (version === 0 && value === 0 && history.isRead(index)) continue
    const attempt = order.attempt(value)
    const writer = order.writer(key, version)
    if (attempt < 0) found(`nobody wrote the value ${value}`, -1, index)
    else if (history.key(attempt) !== key) found('the value is of another key', attempt, index)
    else if (history.isFailed(attempt)) found('a failed write took effect', attempt, index)
    else if (history.invokedMs(attempt) > history.returnedMs(index)) {
      found('a value was read before it was written', attempt, index)
    } else if (writer !== attempt) found('one version has two values', writer, index)
    else if (order.madeBy(attempt) !== version) {
      found(`one write has made versions ${order.madeBy(attempt)} and ${version}`, attempt, index)
    }
  }
  return violations
}

/** Acknowledged writes that the database does not have, and what its own tables do not agree about. */
export function checkFinalState(
  history: History,
  order: VersionOrder,
  state: FinalState,
): Violation[] {
  const violations: Violation[] = []
  const found = (what: string, earlier: number) =>
    violations.push({ guarantee: 'acknowledged writes stay', what, earlier, later: -1 })
  const versionOf = new Map<number, number>()
  const highest = new Map<number, number>()
  const versions = new Set<string>()
  for (const { key, version, value } of state.log) {
    const attempt = order.attempt(value)
    const where = `version ${version} of key ${key}`
    if (attempt < 0) found(`${where} has a value that nobody wrote: ${value}`, -1)
    else if (history.key(attempt) !== key) found(`${where} was written to another key`, attempt)
    else if (history.isFailed(attempt)) found(`${where} is of a write that failed`, attempt)
    if (versionOf.has(value)) found(`${where} was written twice`, attempt)
    const name = `${key} ${version}`
    if (versions.has(name)) found(`${where} is there twice`, attempt)
    versions.add(name)
    versionOf.set(value, version)
    highest.set(key, Math.max(highest.get(key) ?? 0, version))
  }
  for (let index = 0; index < history.size; index += 1) {
    if (!history.isWrite(index) || !history.isOk(index)) continue
    const kept = versionOf.get(history.value(index))
    if (kept === undefined) found('the write is not in the database', index)
    else if (kept !== history.version(index)) found(`the write is at version ${kept}`, index)
  }
  for (const [key, version] of state.versions) {
    const logged = highest.get(key) ?? 0
    if (version !== logged) found(`key ${key} is at version ${version}, its log at ${logged}`, -1)
  }
  return violations
}
