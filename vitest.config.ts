// One run for everything: pure tests, and tests against real servers that test/support/global-setup.ts starts once.
import { defineConfig } from 'vitest/config'

/** Each takes a good part of a minute; `npm run test:slow` has them, on all versions of PostgreSQL. */
const slow = [
  'test/rebalancer/{apply*,copy,failure,pass-copy,stream}.pg.test.ts',
  'test/moves/{lost-connections,review,shapes}.pg.test.ts',
  'test/simulation/simulation.test.ts',
  'test/cli/{workers,orders-of-workers,upgrade,shards,bench,rebalance-run,shutdown,import,schema-diff}.test.ts',
  'test/catalog/token-store{,-chaos,-deployments}.test.ts',
  'test/partition/*.test.ts',
  'test/docs/adopt.pg.test.ts',
  'test/rebalancer/{verify,join}.pg.test.ts',
  'test/moves/move.pg.test.ts',
  'test/sharded/moves-and-*.pg.test.ts',
  'test/faults/faults.test.ts',
  'test/memory/memory.test.ts',
]

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: [
      'test/clients/**',
      '**/node_modules/**',
      ...(process.env['RINGFENCE_SLOW'] === '1' ? [] : slow),
    ],
    globalSetup: ['test/support/global-setup.ts'],
    reporters: ['default', './test/support/closing-line-reporter.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    pool: 'forks',
  },
})
