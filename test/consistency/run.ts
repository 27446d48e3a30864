// The large consistency run: `node test/consistency/run.ts --operations 1000000 --seed 7`. Exit code 1 when a guarantee
// was broken, or, with `--tokens off`, when none was: then the run could not have found anything.
import { parseArgs } from 'node:util'
import { type RunOptions, runConsistency } from './consistency-run.ts'

const { values } = parseArgs({
  options: {
    operations: { type: 'string', default: '1000000' },
    minutes: { type: 'string', default: '40' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    tokens: { type: 'string', default: 'on' },
    shards: { type: 'string', default: '3' },
    proxies: { type: 'string', default: '4' },
    workers: { type: 'string', default: '48' },
    keys: { type: 'string', default: '3000' },
    redis: { type: 'string', default: 'on' },
    pace: { type: 'string', default: '15' },
    chaos: { type: 'string', default: 'all' },
    'in-process': { type: 'boolean', default: false },
  },
})

const options: RunOptions = {
  seed: Number(values.seed),
  operations: Number(values.operations),
  minutes: Number(values.minutes),
  tokens: values.tokens === 'off' ? 'off' : 'on',
  shards: Number(values.shards),
  proxies: Number(values.proxies),
  proxyKind: values['in-process'] ? 'inProcess' : 'program',
  workers: Number(values.workers),
  keys: Number(values.keys),
  redis: values.redis !== 'off',
  chaos: values.chaos === 'replay' ? 'replay' : 'all',
  paceMs: Number(values.pace) * 1_000,
  say: (line) => process.stdout.write(`${line}\n`),
}

const { violations, misplaced, text } = await runConsistency(options)
process.stdout.write(`${text}\n`)
const broken = violations.length > 0
if (misplaced > 0) process.stdout.write(`${misplaced} reads were not on the primary\n`)
process.exitCode = misplaced === 0 && broken === (options.tokens === 'off') ? 0 : 1
