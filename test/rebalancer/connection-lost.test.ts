// A server that cannot be reached is tried again by whoever follows it, on whichever of its connections that is seen.
import { expect, it } from 'vitest'
import { systemClock } from '../../core/clock.ts'
import { freePort } from '../../demo/ports.ts'
import { TargetSession } from '../../rebalancer/apply/target-session.ts'
import { isPassing } from '../../rebalancer/stream/connection-lost.ts'
import { SourceClock } from '../../rebalancer/stream/source-clock.ts'
import { SourceConnection } from '../../rebalancer/stream/source-connection.ts'

it.each([
  ['source', (url: string) => SourceConnection.open(url, 'test', systemClock)],
  ['source', (url: string) => SourceClock.open(url, 'test', systemClock)],
  ['target', (url: string) => TargetSession.open(url, 'test', 'ringfence_test', systemClock)],
])('a %s that refuses connections is lost for now', async (server, open) => {
  const port = await freePort()
  const thrown: unknown = await open(`postgres://nobody@127.0.0.1:${port}/none`).catch(
    (error: unknown) => error,
  )
  expect(isPassing(thrown)).toBe(true)
  expect(String(thrown)).toContain(`the ${server} cannot be reached: connect ECONNREFUSED`)
})
