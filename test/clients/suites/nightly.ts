// All suites, one after the other: node test/clients/suites/nightly.ts. Exit code 1 when one of them has failed.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const runs: readonly (readonly string[])[] = [
  ['regress.ts'],
  ['regress.ts', '--noise', '6'],
  ['drivers.ts'],
]

for (const [script = '', ...args] of runs) {
  process.stdout.write(`# ${[script, ...args].join(' ')}\n`)
  const path = fileURLToPath(new URL(script, import.meta.url))
  const { status } = spawnSync(process.execPath, [path, ...args], { stdio: 'inherit' })
  if (status !== 0) process.exitCode = 1
}
