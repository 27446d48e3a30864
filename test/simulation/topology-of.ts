// The routing view of a move, made of the same predicates as catalog/topology-query.ts makes it of.
import type { ShardId } from '../../core/ids.ts'
import { isFenced, isSwitched } from '../../catalog/move-state.ts'
import type { Move } from '../../catalog/move-store.ts'
import { type MovedSet, setMembership } from '../../router/moved-set.ts'
import type { MovePhase, TopologyMove } from '../../router/topology.ts'

/** As proxies see it. */
export function topologyMove({ id, from, to, state, set }: Move): TopologyMove {
  const serving = isSwitched(state) ? to : from
  return { id, from, to, phase: phaseOf(state), serving, set, contains: setMembership(set) }
}

/** Whoever does not serve a set may have its rows all the same. */
export function hiddenOf(
  moves: readonly TopologyMove[],
): ReadonlyMap<ShardId, readonly MovedSet[]> {
  const hidden = new Map<ShardId, readonly MovedSet[]>()
  for (const { from, to, serving, set } of moves) {
    const other = serving === from ? to : from
    hidden.set(other, [...(hidden.get(other) ?? []), set])
  }
  return hidden
}

function phaseOf(state: Move['state']): MovePhase {
  if (isFenced(state)) return 'fenced'
  return isSwitched(state) ? 'switched' : 'moving'
}
