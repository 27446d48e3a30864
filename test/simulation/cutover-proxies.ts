// The model's proxies and the statements that clients send through them: what proxy/move-gate.ts decides, step by step.
import { hasEnded, isFenced, isSwitched, type MoveState } from '../../catalog/move-state.ts'
import type { CutoverState, Operation, ProxyState, Side } from './cutover-state.ts'
import type { Step } from './explore.ts'
import type { CutoverFault } from './cutover-model.ts'

type Steps = Step<CutoverState>[]

/** Everything that can happen to one of the proxies. */
export function proxySteps(state: CutoverState, index: 0 | 1, fault: CutoverFault | null): Steps {
  const proxy = state.proxies[index]
  const name = `p${index + 1}`
  const steps: Steps = []
  const become = (what: string, change: Partial<ProxyState>) => {
    steps.push({ name: `${name} ${what}`, state: withProxy(state, index, change) })
  }
  const newest = state.published.length - 1
  // A notification that is not lost.
  if (proxy.pending === null && proxy.known < newest) {
    become('hears', adopted(state, proxy, { place: newest, renews: false }, fault))
  }
  if (proxy.pending === null && (proxy.told < proxy.seen || !proxy.hasLease)) {
    become('beats', { told: proxy.seen, isSilent: false, pending: newest })
  }
  if (proxy.pending !== null) {
    become('adopts', adopted(state, proxy, { place: proxy.pending, renews: true }, fault))
  }
  const isUnderWay = !hasEnded(state.published[newest] ?? 'done')
  if (proxy.hasLease && isUnderWay && state.left.silences > 0) {
    const left = { ...state.left, silences: state.left.silences - 1 }
    const cut = withProxy({ ...state, left }, index, { hasLease: false, pending: null })
    steps.push({ name: `${name} loses its lease`, state: cut })
  }
  // What was sent under the lease has arrived by then: that is what the time between the two is for.
  const hasArrived = proxy.operation?.at !== 'sent' || fault === 'messagesOutliveLeases'
  if (!proxy.hasLease && !proxy.isSilent && hasArrived)
    become('counts as silent', { isSilent: true })
  steps.push(...calls(state, index, fault))
  return steps
}

/** What becomes of the statement that a proxy, or nobody, waits for. */
export function operationSteps(state: CutoverState, index: 0 | 1 | null): Steps {
  const operation = index === null ? state.orphan : state.proxies[index].operation
  if (operation === null) return []
  const name = `the ${operation.kind} of ${index === null ? 'nobody' : `p${index + 1}`}`
  const end = (what: string, change: Partial<CutoverState> = {}, broken?: string) => {
    const after = withOperation({ ...state, ...change }, index, null)
    const step = { name: `${name} ${what}`, state: after }
    return broken === undefined ? step : { ...step, broken }
  }
  const { side } = operation
  const value = state[side]
  if (operation.kind === 'read') {
    if (value === null) return [end('is answered', {}, `it found nothing on ${side}`)]
    const isStale = value < operation.since
    const what = `it showed ${value} of ${operation.since} writes that had been answered`
    return [end('is answered', {}, isStale ? what : undefined)]
  }
  if (operation.at === 'open') {
    const isLost = value !== state.committed
    const committed = state.committed + 1
    const change = { committed, ...(side === 'a' ? { a: committed } : { b: committed }) }
    const what = `it found ${value} on ${side} of ${state.committed} writes`
    return [end('commits', change, isLost ? what : undefined), end('is rolled back')]
  }
  if (state.fences[side]) return [end('meets the fence')]
  if (isLocked(state, side)) return []
  const open = withOperation(state, index, { ...operation, at: 'open' })
  return [{ name: `${name} arrives`, state: open }]
}

/** True while a write on that side has its locks. */
export function isLocked({ proxies, orphan }: CutoverState, side: Side): boolean {
  return [proxies[0].operation, proxies[1].operation, orphan].some(
    (operation) => operation?.at === 'open' && operation.side === side,
  )
}

/** Who owns the key by a topology. */
function servingBy(state: MoveState): Side {
  return isSwitched(state) || state === 'done' ? 'b' : 'a'
}

/** With one proxy changed. */
export function withProxy(
  state: CutoverState,
  index: 0 | 1,
  change: Partial<ProxyState>,
): CutoverState {
  const [first, second] = state.proxies
  if (index === 0) return { ...state, proxies: [{ ...first, ...change }, second] }
  return { ...state, proxies: [first, { ...second, ...change }] }
}

function withOperation(
  state: CutoverState,
  index: 0 | 1 | null,
  operation: Operation | null,
): CutoverState {
  if (index === null) return { ...state, orphan: operation }
  // With its last obligation the proxy goes by what it knows.
  const { seen, known } = state.proxies[index]
  const change = operation === null ? { operation, seen: known } : { operation, seen }
  return withProxy(state, index, change)
}

function calls(state: CutoverState, index: 0 | 1, fault: CutoverFault | null): Steps {
  const proxy = state.proxies[index]
  const known = state.published[proxy.known] ?? 'done'
  const held = !proxy.hasLease && fault !== 'leaseIgnored'
  const isHeld = !hasEnded(known) && (held || (isFenced(known) && fault !== 'notHeld'))
  if (proxy.operation !== null || isHeld) return []
  const side = servingBy(known)
  const since = state.committed
  const read: Operation = { kind: 'read', side, at: 'sent', since, obliges: false }
  const name = `p${index + 1} sends`
  const steps: Steps = [
    { name: `${name} a read to ${side}`, state: withProxy(state, index, { operation: read }) },
  ]
  if (state.left.writes === 0) return steps
  const fewer = { ...state, left: { ...state.left, writes: state.left.writes - 1 } }
  const write: Operation = { ...read, kind: 'write' }
  steps.push({
    name: `${name} a write to ${side}`,
    state: withProxy(fewer, index, { operation: write }),
  })
  return steps
}

/** Takes over what it has read; what is under way may have to end before the proxy says so. */
function adopted(
  { published }: CutoverState,
  proxy: ProxyState,
  { place, renews }: { readonly place: number; readonly renews: boolean },
  fault: CutoverFault | null,
): Partial<ProxyState> {
  const { operation, known } = proxy
  const [before, now] = [published[known] ?? 'done', published[place] ?? 'done']
  const hasLease = proxy.hasLease || (renews && !proxy.isSilent)
  const change = { known: place, pending: null, hasLease, seen: place }
  if (operation === null) return change
  const comesToFence = isFenced(now) && !isFenced(before) && servingBy(now) === operation.side
  const isPassing = comesToFence && operation.kind === 'write'
  const isLeaving =
    fault !== 'leavingIgnored' &&
    servingBy(before) !== servingBy(now) &&
    servingBy(before) === operation.side
  const obliges = operation.obliges || isPassing || isLeaving
  const seen = obliges && fault !== 'seenTooSoon' ? proxy.seen : place
  return { ...change, seen, operation: { ...operation, obliges } }
}
