// node test/faults/run.ts: the whole fault suite, with servers of its own; exit code 1 where something was wrong.
// --only cuts,logins,… plays parts, --every 10 a tenth of the cuts, --version 15 takes another PostgreSQL.
import { parseArgs } from 'node:util'
import { startProcesses } from '../support/servers-local.ts'
import { type Part, parts } from './parts.ts'
import { describeReport, everyNth } from './report.ts'

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: Object.keys(parts).join(',') },
    every: { type: 'string', default: '1' },
    version: { type: 'string', default: '18' },
  },
})

const shownMax = 20
const started = await startProcesses(Number(values.version))
try {
  const chosen = values.only.split(',')
  for (const [name, part] of Object.entries<Part>(parts)) {
    if (!chosen.includes(name)) continue
    const startedMs = performance.now()
    for (const report of await part(started.servers, everyNth(Number(values.every)))) {
      const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
      process.stdout.write(`${name} (${seconds} s): ${describeReport(report)}\n`)
      for (const complaint of report.complaints.slice(0, shownMax)) {
        process.stdout.write(`  ${complaint}\n`)
      }
      if (report.complaints.length > 0) process.exitCode = 1
    }
  }
} finally {
  await started.stop()
}
