// A slice of the large run (run.ts): some seconds of it on two shards, once as it should be, and once without what makes
// it so, to see that the run would find it.
import { describe, expect, it } from 'vitest'
import { type RunOptions, runConsistency } from './consistency-run.ts'

const deadlineMs = 180_000

const slice: RunOptions = {
  seed: Number(process.env['RINGFENCE_SEED'] ?? Date.now() % 1_000_000),
  operations: 20_000,
  minutes: 0.25,
  tokens: 'on',
  shards: 2,
  proxies: 3,
  proxyKind: 'inProcess',
  workers: 24,
  keys: 200,
  redis: true,
  chaos: 'all',
  paceMs: 5_000,
  say: () => undefined,
}

describe('sessions on replicas, through several proxies', () => {
  it(
    'keep every guarantee while replay is held back, servers are killed and promoted, and Redis dies',
    async () => {
      const { text, violations, misplaced, replicaShare, operations } = await runConsistency(slice)
      process.stdout.write(`${text}\n`)
      expect(violations.length === 0 ? '' : text).toBe('')
      expect(misplaced).toBe(0)
      expect(operations).toBeGreaterThan(0)
      expect(replicaShare).toBeGreaterThan(0)
    },
    deadlineMs,
  )

  it(
    'go back in time when nothing is carried from statement to statement, and this is found',
    async () => {
      const off: RunOptions = { ...slice, operations: 5_000, tokens: 'off', chaos: 'replay' }
      const { violations } = await runConsistency(off)
      expect(violations.length).toBeGreaterThan(0)
      const ofSessions = ['read-your-writes', 'monotonic reads']
      for (const { guarantee } of violations) expect(ofSessions).toContain(guarantee)
    },
    deadlineMs,
  )
})
