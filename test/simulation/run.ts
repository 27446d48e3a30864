// The large simulation: `node test/simulation/run.ts --seeds 10000 --from 1`. Ends at the first seed that breaks a guarantee,
// which `--from <seed> --seeds 1 --trace` shows. With `--mutation <name>` a fault is planted that should be found.
import { parseArgs } from 'node:util'
import { isMutation, mutations } from './mutation.ts'
import { simulate, type SimulationResult } from './simulate.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '10000' },
    from: { type: 'string', default: '1' },
    mutation: { type: 'string', default: '' },
    trace: { type: 'boolean', default: false },
    'keep-going': { type: 'boolean', default: false },
  },
})

const say = (line: string) => void process.stdout.write(`${line}\n`)
process.stdout.on('error', () => process.exit())
const mutation = isMutation(values.mutation) ? values.mutation : null
if (values.mutation !== '' && mutation === null) {
  say(`no such mutation; there are:`)
  for (const [name, what] of Object.entries(mutations)) say(`  ${name}: ${what}`)
  process.exit(2)
}

// Errors are a way to answer here, tens of thousands of times.
Error.stackTraceLimit = 0
const from = Number(values.from)
const total = { seeds: 0, events: 0, commits: 0, reads: 0, scatters: 0, moves: 0, failed: 0 }
const beginMs = performance.now()
for (let seed = from; seed < from + Number(values.seeds); seed += 1) {
  const result = await simulate({ seed, mutation, tracing: values.trace })
  add(result)
  if (values.trace) for (const line of result.trace) say(line)
  if (result.violation === null) continue
  say(`seed ${seed}: ${result.violation}`)
  total.failed += 1
  if (!values['keep-going']) break
}
const seconds = (performance.now() - beginMs) / 1_000
const { seeds, events, commits, reads, scatters, moves, failed } = total
say(
  `${seeds} seeds in ${seconds.toFixed(1)} s (${(seeds / seconds).toFixed(0)} a second): ${events} events, ` +
    `${moves} moves, ${commits} rows committed, ${reads} reads, ${scatters} scattered reads; ${failed} failed`,
)
process.exitCode = failed === 0 ? 0 : 1

function add({ counts }: SimulationResult): void {
  total.seeds += 1
  total.events += counts.events
  total.commits += counts.commits
  total.reads += counts.reads
  total.scatters += counts.scatters
  total.moves += counts.done + counts.aborted + counts.rolledBack
}
