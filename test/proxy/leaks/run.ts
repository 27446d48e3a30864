// node test/proxy/leaks/run.ts --steps 100000 --seed 7: the leak checker for as long as one likes, with servers of its own.
// --clients, --servers, --lanes and --version (of PostgreSQL) have the values of the issue: 50, 5, 10, 18.
// --mode: transaction, session or statement.
import { parseArgs } from 'node:util'
import { startProcesses } from '../../support/servers-local.ts'
import { checkLeaks } from './checker.ts'
import type { Mode } from './step.ts'

const { values } = parseArgs({
  options: {
    steps: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    clients: { type: 'string', default: '50' },
    servers: { type: 'string', default: '5' },
    lanes: { type: 'string', default: '10' },
    version: { type: 'string', default: '18' },
    mode: { type: 'string', default: 'transaction' },
  },
})

const modes: readonly Mode[] = ['transaction', 'session', 'statement']
const mode = modes.find((known) => known === values.mode)
if (mode === undefined) throw new Error(`--mode is one of ${modes.join(', ')}`)

const startedMs = performance.now()
const started = await startProcesses(Number(values.version))
try {
  const { steps, differences, kinds } = await checkLeaks({
    servers: started.servers,
    mode,
    clients: Number(values.clients),
    poolSize: Number(values.servers),
    lanes: Number(values.lanes),
    steps: Number(values.steps),
    seed: Number(values.seed),
    progress: (taken) => process.stdout.write(`${taken} steps\n`),
  })
  const seconds = Math.round((performance.now() - startedMs) / 1000)
  for (const difference of differences) process.stdout.write(`${difference}\n`)
  for (const [kind, count] of [...kinds].sort(([, a], [, b]) => b - a)) {
    process.stdout.write(`${String(count).padStart(8)} ${kind}\n`)
  }
  process.stdout.write(
    `seed ${values.seed}, ${mode}: ${steps} steps, ${differences.length} differences, ${seconds} s\n`,
  )
  process.exitCode = differences.length === 0 ? 0 : 1
} finally {
  await started.stop()
}
