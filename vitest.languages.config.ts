// Clients and ORMs in other languages than JavaScript, through the proxy: packages of Debian, which
// test/clients/languages/scripts.ts names. `vitest run --config vitest.languages.config.ts`.
import { defineConfig } from 'vitest/config'
import { missingScripts } from './test/clients/languages/scripts.ts'

const folder = 'test/clients/languages'

export default defineConfig({
  test: {
    include: [`${folder}/*.languages.test.ts`],
    exclude: missingScripts().map((name) => `${folder}/${name}.languages.test.ts`),
    globalSetup: ['test/support/global-setup.ts'],
    reporters: [
      'default',
      './test/clients/results-reporter.ts',
      './test/support/closing-line-reporter.ts',
    ],
    testTimeout: 90_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    pool: 'forks',
  },
})
