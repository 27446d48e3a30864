// The bulkhead on the way of a statement: before it asks for a server it takes a place of its virtual node. A session has
// one such place at most, from its first server to the last that it gives back.
import type { Vnode } from '../../core/ids.ts'
import type { Plan } from '../../router/plan.ts'
import type { Batch } from '../batch.ts'
import type { Session } from '../session.ts'

/** Resolves once there is a place; null: it has one, or needs none. Stopping the wait gives it back. */
export function untilSlot(session: Session, vnode: Vnode | null): Promise<void> | null {
  const { leases, database } = session.state
  const { bulkhead } = database
  if (bulkhead === null || vnode === null || leases.hasSlot) return null
  const slot = bulkhead.enter(vnode)
  if (slot !== null) {
    leases.takeSlot(slot, bulkhead)
    return null
  }
  const turn = bulkhead.queue(vnode)
  let left = false
  const taken = turn.granted.then((granted) => {
    if (!left) leases.takeSlot(granted, bulkhead)
  })
  return leases.waitFor(taken, () => {
    left = true
    turn.leave()
  })
}

/** Virtual node of the first of `plans` that has one; null where places are not counted. */
export function vnodeOf({ state }: Session, plans: readonly Plan[]): Vnode | null {
  if (state.database.bulkhead === null) return null
  for (const plan of plans) if (plan.kind === 'single' && plan.vnode !== null) return plan.vnode
  return null
}

/** The same for a pipeline. */
export function vnodeIn({ state }: Session, { items }: Batch): Vnode | null {
  if (state.database.bulkhead === null) return null
  for (const item of items) {
    const plan = item.kind === 'bind' ? item.portal.plan : null
    if (plan?.kind === 'single' && plan.vnode !== null) return plan.vnode
  }
  return null
}
