// Linearizability of single registers on the primary (Herlihy and Wing 1990). With the order of a key's writes known,
// a history is linearizable exactly if real time and versions never disagree: what begins after something has returned
// must not be at a lower version, and a write makes a higher one.
import type { History } from './history.ts'
import type { VersionOrder } from './history-order.ts'
import type { Violation } from './history-violation.ts'

/** Violations among writes and the reads that a primary answered. */
export function checkRegisters(history: History, order: VersionOrder): Violation[] {
  const violations: Violation[] = []
  const versionOf = (index: number) =>
    history.isWrite(index) ? order.madeBy(index) : history.version(index)
  // A write without an answer took effect when somebody has seen it; it may have done so at any time after its call.
  const endOf = (index: number) =>
    history.isOk(index) ? history.returnedMs(index) : Number.POSITIVE_INFINITY
  const counts = (index: number) => {
    if (history.isHandover(index) || history.isFailed(index) || versionOf(index) < 0) return false
    return history.isWrite(index) || (history.isOk(index) && history.isOnPrimary(index))
  }
  const invoked = history.sortedBy((index) => history.invokedMs(index))
  const returned = history.sortedBy(endOf)
  /** By key the operation with the highest version among those that have returned. */
  const highest = new Int32Array(history.keyMax + 1).fill(-1)
  let next = 0
  for (const index of invoked) {
    for (; next < returned.length; next += 1) {
      const ended = returned[next] ?? 0
      if (endOf(ended) >= history.invokedMs(index)) break
      if (!counts(ended)) continue
      const known = highest[history.key(ended)] ?? -1
      if (known < 0 || versionOf(ended) > versionOf(known)) highest[history.key(ended)] = ended
    }
    if (!counts(index)) continue
    const before = highest[history.key(index)] ?? -1
    if (before < 0) continue
    const [old, now] = [versionOf(before), versionOf(index)]
    if (history.isWrite(index) ? now > old : now >= old) continue
    violations.push({
      guarantee: 'linearizable on the primary',
      what: `key ${history.key(index)} is at version ${now} after ${old}`,
      earlier: before,
      later: index,
    })
  }
  return violations
}
