// Waiting for proxies to understand an epoch. One that has not been heard of for longer than a lease has stopped serving
// what is on the move, provided that it knew of the move: before that, every proxy counts.
import { type RegisteredProxy, silentMs } from '../catalog/proxy-registry.ts'
import type { MoveWorld } from './world.ts'

/** `everybody`: also who is silent; `living`: who is silent holds what is on the move by itself. */
type Whom = 'everybody' | 'living'

/** Clients wait at a switch while this is waited for. */
const lookMs = 3

/** Proxies that `epochNow` still waits for. */
export function missing(
  proxies: readonly RegisteredProxy[],
  epochNow: number,
  whom: Whom,
): readonly RegisteredProxy[] {
  return proxies.filter(
    (proxy) => proxy.epochSeen < epochNow && (whom === 'everybody' || proxy.silentMs <= silentMs),
  )
}

/** Waits until the epoch of now is understood; gives the proxies that have not in time, none when all have. */
export async function acknowledged(
  world: Pick<MoveWorld, 'epoch' | 'proxies' | 'nowMs' | 'sleep'>,
  {
    whom,
    timeoutMs,
    signal,
  }: { readonly whom: Whom; readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<readonly RegisteredProxy[]> {
  const untilMs = world.nowMs() + timeoutMs
  const epoch = await world.epoch()
  for (;;) {
    signal.throwIfAborted()
    const late = missing(await world.proxies(), epoch, whom)
    if (late.length === 0 || world.nowMs() >= untilMs) return late
    await world.sleep(lookMs, signal)
  }
}

/** For an error: who is late, and since when. */
export function describeLate(late: readonly RegisteredProxy[]): string {
  return late
    .map(
      ({ id, address, silentMs: ms }) =>
        `"${id}" at ${address}, last heard of ${Math.round(ms / 1_000)} s ago`,
    )
    .join('; ')
}
