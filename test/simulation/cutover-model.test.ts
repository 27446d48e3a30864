// Every interleaving of the cutover's model, within limits; prints how many states there are.
import { describe, expect, it } from 'vitest'
import { type CutoverFault, cutoverModel } from './cutover-model.ts'
import { explore } from './explore.ts'

const timeoutMs = 240_000

describe('the cutover with two proxies, one mover and one crash of any', () => {
  const limits = [
    { writes: 1, fences: 1, crashes: 1, silences: 1 },
    { writes: 1, fences: 2, crashes: 0, silences: 0 },
  ]
  it.each(limits)(
    'loses no write, shows no stale read and can always end: %o',
    (left) => {
      const { states, steps, broken, stuck } = explore(cutoverModel(left))
      process.stdout.write(`${JSON.stringify(left)}: ${states} states, ${steps} steps\n`)
      expect(broken).toBeNull()
      expect(stuck).toBe(0)
      expect(states).toBeGreaterThan(10_000)
    },
    timeoutMs,
  )

  const needed: readonly CutoverFault[] = [
    'acknowledgementSkipped',
    'deletedUnacknowledged',
    'fenceDropped',
    'leaseIgnored',
    'leavingIgnored',
    'messagesOutliveLeases',
    'notDrained',
    'notHeld',
    'seenTooSoon',
  ]
  it.each(needed)(
    'needs each part of it: %s breaks it',
    (fault) => {
      const { broken } = explore(
        cutoverModel({ writes: 1, fences: 1, crashes: 0, silences: 1 }, fault),
      )
      expect(broken).not.toBeNull()
    },
    timeoutMs,
  )
})
