// Real clients and ORMs through the proxy. They have dependencies of their own:
// `npm ci --prefix test/clients` first, then `vitest run --config vitest.clients.config.ts`.
// With RINGFENCE_TEST_LANGUAGES=found those in other languages run instead, as far as the machine has what they
// need, with RINGFENCE_TEST_LANGUAGES=all every one: test/clients/languages/install brings it.
import { defineConfig } from 'vitest/config'
import { findProgram } from './test/clients/find-program.ts'
import { missingScripts } from './test/clients/languages/scripts.ts'

const folder = 'test/clients'

// What is missing is said here, for nothing may look as if it had been tested. Where a program of PostgreSQL is
// missing, its tests are not registered.
function programs() {
  const missing = ['psql', 'pgbench'].filter((name) => findProgram(name) === undefined)
  for (const name of missing) process.stderr.write(`${name} was not found: it is not tested here\n`)
  return {
    include: [`${folder}/**/*.clients.test.ts`],
    exclude: ['**/node_modules/**', ...missing.map((name) => `${folder}/${name}.clients.test.ts`)],
    globalSetup: ['test/support/global-setup.ts', `${folder}/prisma-generate.ts`],
    hookTimeout: 60_000,
  }
}

function languages() {
  return {
    include: [`${folder}/languages/*.languages.test.ts`],
    exclude: missingScripts().map((name) => `${folder}/languages/${name}.languages.test.ts`),
    globalSetup: ['test/support/global-setup.ts'],
    hookTimeout: 120_000,
  }
}

export default defineConfig({
  test: {
    ...(process.env['RINGFENCE_TEST_LANGUAGES'] === undefined ? programs() : languages()),
    reporters: [
      'default',
      './test/clients/results-reporter.ts',
      './test/support/closing-line-reporter.ts',
    ],
    testTimeout: 90_000,
    maxWorkers: 2,
    pool: 'forks',
  },
})
