// What the model of the cutover knows: one key on its way from A to B, two proxies, one mover, the catalog.
import type { MoveState } from '../../catalog/move-state.ts'

export type Side = 'a' | 'b'

/** A statement under way. `obliges`: what its proxy has to wait for before it says that it goes by what it knows. */
export type Operation = {
  readonly kind: 'read' | 'write'
  readonly side: Side
  /** `sent`: on the network; `open`: a write that has its locks and is not committed. */
  readonly at: 'sent' | 'open'
  /** Writes that were committed when it was called. */
  readonly since: number
  readonly obliges: boolean
}

export type ProxyState = {
  /** Place of its topology among what was published. */
  readonly known: number
  /** A topology that it has read after a heartbeat and not taken over yet. */
  readonly pending: number | null
  /** All of its work goes by this one. */
  readonly seen: number
  /** What the catalog was told of that. */
  readonly told: number
  readonly hasLease: boolean
  /** By the catalog. */
  readonly isSilent: boolean
  readonly operation: Operation | null
}

export type MoverState = {
  /** Within the present step. */
  readonly at: 'begin' | 'acknowledged' | 'fenced' | 'drained' | 'lifted'
  /** The last write of the fenced side. */
  readonly end: number
  readonly following: 'forward' | 'reverse' | null
}

export type CutoverState = {
  /** States of the move in the order in which they were published. */
  readonly published: readonly MoveState[]
  /** Writes that each side shows; null: the row is not there. */
  readonly a: number | null
  readonly b: number | null
  readonly committed: number
  readonly fences: { readonly a: boolean; readonly b: boolean }
  readonly mover: MoverState
  readonly proxies: readonly [ProxyState, ProxyState]
  /** A statement that its proxy has lost sight of. */
  readonly orphan: Operation | null
  readonly left: {
    readonly writes: number
    readonly fences: number
    readonly crashes: number
    readonly silences: number
  }
}

const proxy: ProxyState = {
  known: 0,
  pending: null,
  seen: 0,
  told: 0,
  hasLease: true,
  isSilent: false,
  operation: null,
}

/** The rows are copied and followed. */
export function firstState(left: CutoverState['left']): CutoverState {
  return {
    published: ['catching_up'],
    a: 0,
    b: 0,
    committed: 0,
    fences: { a: false, b: false },
    mover: { at: 'begin', end: 0, following: 'forward' },
    proxies: [proxy, proxy],
    orphan: null,
    left,
  }
}

/** Made once for all states that share what was published. */
const publishedKeys = new WeakMap<readonly MoveState[], string>()

/** Proxies are alike: which is which makes no other state. */
export function keyOf(state: CutoverState): string {
  const { published, a, b, committed, fences, mover, proxies, orphan, left } = state
  let history = publishedKeys.get(published)
  if (history === undefined) {
    history = published.map((each) => each.slice(0, 1) + each.slice(-2)).join('')
    publishedKeys.set(published, history)
  }
  const rows = ((a ?? 7) << 6) | ((b ?? 7) << 3) | committed
  const marks = (Number(fences.a) << 1) | Number(fences.b)
  const place = (moverPlaces.indexOf(mover.at) << 5) | (mover.end << 2)
  const moves = place | followings.indexOf(mover.following)
  const limits = (left.writes << 6) | (left.fences << 4) | (left.crashes << 2) | left.silences
  const rest = String.fromCharCode(rows, (marks << 8) | moves, limits, operationCode(orphan))
  const [first, second] = [proxyKey(proxies[0]), proxyKey(proxies[1])]
  return history + rest + (first < second ? first + second : second + first)
}

const moverPlaces: readonly MoverState['at'][] = [
  'begin',
  'acknowledged',
  'fenced',
  'drained',
  'lifted',
]
const followings: readonly MoverState['following'][] = [null, 'forward', 'reverse']

/** Places fit in four bits: what is left bounds how much is published. */
function proxyKey({ known, pending, seen, told, hasLease, isSilent, operation }: ProxyState) {
  const places = (known << 12) | ((pending ?? 15) << 8) | (seen << 4) | told
  const lease = (Number(hasLease) << 1) | Number(isSilent)
  return String.fromCharCode(places, (lease << 8) | operationCode(operation))
}

function operationCode(operation: Operation | null): number {
  if (operation === null) return 0
  const { kind, side, at, since, obliges } = operation
  const flags = [kind === 'write', side === 'b', at === 'open', obliges]
  return flags.reduce((code, flag) => (code << 1) | Number(flag), since + 1)
}
