// Moves under kill -9 on real servers: `node test/moves/run.ts --minutes 30 --seed 7`. Exit code 1 when anything was lost,
// doubled, misplaced or left behind, or when clients saw errors that they should not.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { runChaos } from './chaos/chaos-run.ts'
import { textOf } from './chaos/report.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    clients: { type: 'string', default: '4' },
    movers: { type: 'string', default: '2' },
    postgres: { type: 'string', default: '18' },
    /** Seconds between two faults in a storm, on the average; 0: moves only. */
    pace: { type: 'string', default: '3' },
    /** Milliseconds between two operations of a client, on the average. */
    pause: { type: 'string', default: '8' },
    json: { type: 'string' },
    /** Where programs write their logs; without, they are kept only if the run fails. */
    logs: { type: 'string' },
    /** Servers log every statement. */
    statements: { type: 'boolean', default: false },
  },
})

const logDir = values.logs ?? (await mkdtemp(join(tmpdir(), 'ringfence-moves-')))
await mkdir(logDir, { recursive: true })
const pace = Number(values.pace)
const report = await runChaos({
  seed: Number(values.seed),
  minutes: Number(values.minutes),
  clients: Number(values.clients),
  movers: Number(values.movers),
  version: Number(values.postgres),
  paceMs: pace === 0 ? null : pace * 1_000,
  stormMs: 40_000,
  calmMs: 15_000,
  pauseMs: Number(values.pause),
  logDir,
  logStatements: values.statements,
  say: (line) => process.stdout.write(`${line}\n`),
})
process.stdout.write(`${textOf(report)}\n`)
if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(report, null, 2)}\n`)
if (report.ok && values.logs === undefined) await rm(logDir, { recursive: true })
process.exitCode = report.ok ? 0 : 1
