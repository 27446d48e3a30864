// What a transaction that keeps its snapshot may still be told once virtual nodes have moved. A
// snapshot is of one server: on the new owner it may be older than the rows that came there, on the
// former one it still shows those that have been deleted since. Such a statement fails as one does
// that meets a concurrent update; at READ COMMITTED every statement has a snapshot of its own, and
// nothing happens.
import { pgError } from '../core/errors.ts'
import type { Plan } from '../router/plan.ts'
import { showsSame, type Topology } from '../router/topology.ts'
import type { Transaction } from './transaction.ts'

type SnapshotFacts = {
  readonly transaction: Transaction
  /** Topologies of the time of its snapshots, other than `now`. */
  readonly before: readonly Topology[]
  readonly now: Topology
  /** The statement's plan by another topology. */
  readonly planBy: (topology: Topology) => Plan
}

/**
 * `plan` itself, or its refusal with 40001. As long as nobody has said what isolation the
 * transaction has, it is noted that the statement depends on it: it is held until a server has been
 * asked (where.ts).
 */
export function planInSnapshot(plan: Plan, facts: SnapshotFacts): Plan {
  const { transaction } = facts
  // Without a server it has no snapshot.
  if (transaction.failed || transaction.participants.size === 0) return plan
  if (transaction.keepsSnapshot === 'no' || !isElsewhere(plan, facts)) return plan
  // A replica may not have heard of what has moved: it was chosen when that was no matter.
  if (transaction.keepsSnapshot === 'yes' || transaction.onReplicas === true) {
    return { kind: 'refuse', error: pgError('movedSinceSnapshot') }
  }
  transaction.keepsSnapshot = 'asked'
  return plan
}

/** True when rows that the statement is about were elsewhere at the time of a snapshot. */
function isElsewhere(plan: Plan, { before, now, planBy }: SnapshotFacts): boolean {
  switch (plan.kind) {
    case 'single':
      if (plan.vnode === null) return false
      return before.some((topology) => {
        const then = planBy(topology)
        return then.kind !== 'single' || then.shard !== plan.shard
      })
    case 'scatter':
      return before.some((topology) => !showsSame(topology, now))
    case 'everywhere':
    case 'copyIn':
    case 'session':
    case 'refuse':
      return false
  }
}
