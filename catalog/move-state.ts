// The states of a move and which may follow which. One table of truth: the runner, the catalog's compare-and-set and the
// tests all read it.
//
//   planned → preparing → copying → catching_up → verifying → fencing → switched → completing → done
//                                        ↑________ unfencing ____|      ↕
//   whatever comes before the switch → aborting → aborted      rolling_back → aborting → aborted
//
// A fence that cannot be had in time is lifted again (`unfencing`): a state of its own, so that nobody lifts the fence of a
// move that has switched after all. `rolling_back` is the cutover the other way and has `unfencing_back`. What was verified
// once goes from catching up to the fence directly.

/** State of a move as the catalog keeps it. */
export type MoveState =
  | 'planned'
  | 'preparing'
  | 'copying'
  | 'catching_up'
  | 'verifying'
  | 'fencing'
  | 'unfencing'
  | 'switched'
  | 'rolling_back'
  | 'unfencing_back'
  | 'completing'
  | 'aborting'
  | 'done'
  | 'aborted'

/** What an operator wants of a move; the runner takes it up at its next step. */
export type MoveWish = 'pause' | 'abort' | 'rollback' | 'complete'

const followers: Readonly<Record<MoveState, readonly MoveState[]>> = {
  planned: ['preparing', 'aborted'],
  preparing: ['copying', 'aborting'],
  copying: ['catching_up', 'aborting'],
  catching_up: ['verifying', 'fencing', 'aborting'],
  verifying: ['fencing', 'aborting'],
  fencing: ['unfencing', 'switched'],
  unfencing: ['catching_up', 'aborting'],
  switched: ['rolling_back', 'completing'],
  rolling_back: ['unfencing_back', 'aborting'],
  unfencing_back: ['switched'],
  completing: ['done'],
  aborting: ['aborted'],
  done: [],
  aborted: [],
}

/** True when a move may go from `state` to `next`. */
export function mayFollow(state: MoveState, next: MoveState): boolean {
  return followers[state].includes(next)
}

/** True when nothing is left to be done. */
export function hasEnded(state: MoveState): boolean {
  return state === 'done' || state === 'aborted'
}

/** True when the target owns what was moved. */
export function isSwitched(state: MoveState): boolean {
  return ['switched', 'rolling_back', 'unfencing_back', 'completing'].includes(state)
}

/** True while proxies hold statements: they wait for whoever runs the move. */
export function isFenced(state: MoveState): boolean {
  return ['fencing', 'unfencing', 'rolling_back', 'unfencing_back'].includes(state)
}
