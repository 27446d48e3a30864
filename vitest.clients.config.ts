// Real clients and ORMs through the proxy. They have dependencies of their own:
// `npm ci --prefix test/clients` first, then `vitest run --config vitest.clients.config.ts`.
import { defineConfig } from 'vitest/config'
import { findProgram } from './test/clients/find-program.ts'

const folder = 'test/clients'
// PostgreSQL's own programs are no npm packages. Where one is missing its tests are not registered,
// which is said here, for nothing may look as if it had been tested.
const missing = ['psql', 'pgbench'].filter((name) => findProgram(name) === undefined)
for (const name of missing) process.stderr.write(`${name} was not found: it is not tested here\n`)

export default defineConfig({
  test: {
    include: [`${folder}/**/*.clients.test.ts`],
    exclude: ['**/node_modules/**', ...missing.map((name) => `${folder}/${name}.clients.test.ts`)],
    globalSetup: ['test/support/global-setup.ts', `${folder}/prisma-generate.ts`],
    reporters: [
      'default',
      './test/clients/results-reporter.ts',
      './test/support/closing-line-reporter.ts',
    ],
    testTimeout: 90_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    pool: 'forks',
  },
})
