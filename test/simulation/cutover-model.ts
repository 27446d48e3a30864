// A model of the cutover, small enough to look at every interleaving: clients read and write one key through two proxies
// while a mover fences, switches, goes back, completes or aborts; leases end, messages are late, one of all crashes. Times are
// abstract. Where it could drift away from the code it asks the code: which state may follow, what a state means for routing,
// which proxies are waited for.
import { hasEnded, mayFollow, type MoveState } from '../../catalog/move-state.ts'
import { silentMs } from '../../catalog/proxy-registry.ts'
import { assert } from '../../core/assert.ts'
import { epoch } from '../../core/ids.ts'
import { missing } from '../../rebalancer/acknowledged.ts'
import { isLocked, operationSteps, proxySteps, withProxy } from './cutover-proxies.ts'
import {
  type CutoverState,
  firstState,
  keyOf,
  type MoverState,
  type ProxyState,
  type Side,
} from './cutover-state.ts'
import type { Model, Step } from './explore.ts'

/** A part of the protocol that is left out, to see that it is needed. */
export type CutoverFault =
  | 'acknowledgementSkipped'
  | 'deletedUnacknowledged'
  | 'fenceDropped'
  | 'leaseIgnored'
  | 'leavingIgnored'
  | 'messagesOutliveLeases'
  | 'notDrained'
  | 'notHeld'
  | 'seenTooSoon'

type Steps = readonly Step<CutoverState>[]

/** `left`: writes of clients, fences that are tried, crashes, leases that end. */
export function cutoverModel(
  left: CutoverState['left'],
  fault: CutoverFault | null = null,
): Model<CutoverState> {
  return {
    first: firstState(left),
    keyOf,
    next: (state) => [
      ...moverSteps(state, fault),
      ...follow(state),
      ...proxySteps(state, 0, fault),
      ...proxySteps(state, 1, fault),
      ...operationSteps(state, 0),
      ...operationSteps(state, 1),
      ...operationSteps(state, null),
      ...crashes(state),
    ],
    hasEnded: ({ published }) => hasEnded(published.at(-1) ?? 'done'),
  }
}

/** What the mover may do next, by the state that it reads from the catalog. */
function moverSteps(state: CutoverState, fault: CutoverFault | null): Steps {
  const now = state.published.at(-1) ?? 'done'
  const { mover } = state
  switch (now) {
    case 'catching_up': {
      if (mover.following !== 'forward') return [followOn(state, 'forward')]
      const aborting = publish(state, 'aborting')
      if (state.left.fences === 0) return aborting
      const left = { ...state.left, fences: state.left.fences - 1 }
      return [...aborting, ...publish({ ...state, left }, 'fencing')]
    }
    case 'fencing':
      return [...publish(state, 'unfencing'), ...cutover(state, 'a', fault)]
    case 'unfencing':
      return mover.at === 'begin' ? [lift(state, ['a'])] : publish(state, 'catching_up')
    case 'switched': {
      const completing = publish(state, 'completing')
      if (mover.following !== 'reverse') return [...completing, followOn(state, 'reverse')]
      if (state.left.fences === 0) return completing
      const left = { ...state.left, fences: state.left.fences - 1 }
      return [...completing, ...publish({ ...state, left }, 'rolling_back')]
    }
    case 'rolling_back':
      return [...publish(state, 'unfencing_back'), ...cutover(state, 'b', fault)]
    case 'unfencing_back':
      return fenceAgain(state, fault)
    case 'completing':
      return remove(state, 'a', fault)
    case 'aborting':
      return remove(state, 'b', fault)
    default:
      return []
  }
}

/** From the proxies' word to the change of owner; any of it may take too long, and then another step is taken. */
function cutover(state: CutoverState, side: Side, fault: CutoverFault | null): Steps {
  const { mover } = state
  const isBack = side === 'b'
  if (mover.following !== (isBack ? 'reverse' : 'forward')) return []
  const at = (next: Partial<MoverState>) => ({ ...state, mover: { ...mover, ...next } })
  switch (mover.at) {
    case 'begin':
      if (late(state).length > 0 && fault !== 'acknowledgementSkipped') return []
      return [{ name: 'the proxies have acknowledged', state: at({ at: 'acknowledged' }) }]
    case 'acknowledged': {
      if (fault === 'fenceDropped') {
        const end = state[side] ?? 0
        return [{ name: 'no fence is placed', state: at({ at: 'fenced', end }) }]
      }
      if (isLocked(state, side)) return []
      const fenced = {
        ...at({ at: 'fenced', end: state[side] ?? 0 }),
        fences: fences(state, side, true),
      }
      return [{ name: `${side} is fenced`, state: fenced }]
    }
    case 'fenced': {
      const other = isBack ? state.a : state.b
      if ((other ?? 0) < mover.end && fault !== 'notDrained') return []
      return [{ name: 'the log is drained', state: at({ at: 'drained' }) }]
    }
    case 'drained':
      if (!isBack) return publish(state, 'switched')
      // What a broken connection has left on the network is gone by then.
      return state.orphan === null ? [lift(state, ['a'])] : []
    case 'lifted':
      return publish(state, 'aborting')
  }
}

/** The source is fenced as before, then the target serves on. */
function fenceAgain(state: CutoverState, fault: CutoverFault | null): Steps {
  if (state.mover.at === 'lifted') return publish(state, 'switched')
  if (state.mover.at === 'fenced') return [lift(state, ['b'])]
  if (isLocked(state, 'a') && fault !== 'fenceDropped') return []
  const mover: MoverState = { ...state.mover, at: 'fenced' }
  const placed = fault === 'fenceDropped' ? state.fences : fences(state, 'a', true)
  return [{ name: 'a is fenced again', state: { ...state, mover, fences: placed } }]
}

/** The end: rows that nobody asks for go, then the fences. */
function remove(state: CutoverState, side: Side, fault: CutoverFault | null): Steps {
  if (state.mover.at === 'lifted') return publish(state, side === 'a' ? 'done' : 'aborted')
  if (state[side] === null) return [lift(state, ['a', 'b'])]
  if (late(state).length > 0 && fault !== 'deletedUnacknowledged') return []
  if (state.orphan !== null) return []
  const mover: MoverState = { ...state.mover, following: null }
  const rows = side === 'a' ? { a: null } : { b: null }
  return [{ name: `the row is deleted on ${side}`, state: { ...state, ...rows, mover } }]
}

function late({ proxies, published }: CutoverState) {
  const listed = proxies.map((proxy, index) => registered(proxy, index))
  return missing(listed, published.length - 1, 'living')
}

/** As the catalog's list has it. */
function registered({ told, isSilent }: ProxyState, index: number) {
  const id = `p${index + 1}`
  const ms = isSilent ? silentMs + 1 : 0
  return { id, address: id, version: '', epochSeen: epoch(told), silentMs: ms }
}

/** The change of state, and the same with an answer that is lost: the runner begins anew. */
function publish(state: CutoverState, next: MoveState): Steps {
  const now = state.published.at(-1) ?? 'done'
  assert(mayFollow(now, next), `a move goes from ${now} to ${next}`)
  const published = [...state.published, next]
  const mover: MoverState = { at: 'begin', end: 0, following: followingIn(state.mover, next) }
  const after = { ...state, published, mover }
  const broken = hasEnded(next) ? wrongAtTheEnd(after) : null
  const step = { name: `the move is ${next}`, state: after }
  if (broken !== null) return [{ ...step, broken }]
  if (state.left.crashes === 0) return [step]
  const left = { ...state.left, crashes: state.left.crashes - 1 }
  const unheard = { ...after, left, mover: { ...mover, following: null } }
  return [step, { name: `the move is ${next}, unheard`, state: unheard }]
}

/** The stream of the other direction is begun anew. */
function followingIn({ following }: MoverState, next: MoveState): MoverState['following'] {
  return next === 'switched' && following === 'forward' ? null : following
}

function wrongAtTheEnd({ published, a, b, committed, fences: placed }: CutoverState) {
  const [owner, other] = published.at(-1) === 'done' ? [b, a] : [a, b]
  if (owner !== committed) return `the owner has ${owner} of ${committed} writes`
  if (other !== null) return 'the row is on both sides'
  return placed.a || placed.b ? 'a fence is left' : null
}

function lift(state: CutoverState, sides: readonly Side[]): Step<CutoverState> {
  const { a, b } = state.fences
  const left = { a: a && !sides.includes('a'), b: b && !sides.includes('b') }
  const mover: MoverState = { ...state.mover, at: 'lifted' }
  return {
    name: `the fence is lifted on ${sides.join(', ')}`,
    state: { ...state, mover, fences: left },
  }
}

function fences(state: CutoverState, side: Side, isPlaced: boolean): CutoverState['fences'] {
  return side === 'a' ? { ...state.fences, a: isPlaced } : { ...state.fences, b: isPlaced }
}

function followOn(state: CutoverState, following: 'forward' | 'reverse'): Step<CutoverState> {
  const mover: MoverState = { ...state.mover, following }
  return { name: `changes are followed ${following}`, state: { ...state, mover } }
}

/** One write more is applied on the other side. */
function follow(state: CutoverState): Steps {
  const { a, b, mover } = state
  if (a === null || b === null || mover.following === null) return []
  if (mover.following === 'forward') {
    return a > b ? [{ name: 'a write is applied on b', state: { ...state, b: b + 1 } }] : []
  }
  return b > a ? [{ name: 'a write is applied on a', state: { ...state, a: a + 1 } }] : []
}

function crashes(state: CutoverState): Steps {
  if (state.left.crashes === 0) return []
  const left = { ...state.left, crashes: state.left.crashes - 1 }
  const after = { ...state, left }
  const restarted: MoverState = { at: 'begin', end: 0, following: null }
  return [
    { name: 'the mover crashes', state: { ...after, mover: restarted } },
    { name: 'p1 crashes', state: crashProxy(after, 0) },
    { name: 'p2 crashes', state: crashProxy(after, 1) },
    { name: 'a crashes', state: crashSide({ ...after, mover: restarted }, 'a') },
    { name: 'b crashes', state: crashSide({ ...after, mover: restarted }, 'b') },
  ]
}

/** Its statement may go on without it; the new process registers, and then reads. */
function crashProxy(state: CutoverState, index: 0 | 1): CutoverState {
  const newest = state.published.length - 1
  const { operation } = state.proxies[index]
  const fresh = { known: newest, seen: newest, told: 0, pending: null }
  const change = { ...fresh, hasLease: true, isSilent: false, operation: null }
  const orphan = operation?.kind === 'write' ? operation : state.orphan
  return withProxy({ ...state, orphan }, index, change)
}

function crashSide(state: CutoverState, side: Side): CutoverState {
  let after = state
  for (const index of [0, 1] as const) {
    if (after.proxies[index].operation?.side === side) {
      after = withProxy(after, index, { operation: null })
    }
  }
  return after.orphan?.side === side ? { ...after, orphan: null } : after
}
