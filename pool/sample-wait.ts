// Waiting for the monitor's next look at a shard's servers: asked for at once, shared by everybody who waits.
import type { Clock } from '../core/clock.ts'
import type { ShardMonitor } from './shard-monitor.ts'

export type SampleWait = { readonly clock: Clock; readonly waitMs: number }

/** Resolves true once `arrived` holds after some sample, false when that takes longer than `waitMs`. */
export function waitForSample(
  monitor: ShardMonitor,
  arrived: () => boolean,
  { clock, waitMs }: SampleWait,
): Promise<boolean> {
  if (arrived()) return Promise.resolve(true)
  return new Promise((resolve) => {
    const end = (seen: boolean) => {
      stopWatching()
      deadline.cancel()
      resolve(seen)
    }
    const stopWatching = monitor.watch(() => {
      if (arrived()) end(true)
    })
    const deadline = clock.after(waitMs, () => end(false))
  })
}
