// A slice of the large run (run.ts): half a minute of it, or three with RINGFENCE_SLOW=1.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { embeddedVersion } from '../support/postgres-installation.ts'
import { type ChaosOptions, runChaos } from './chaos/chaos-run.ts'
import { textOf } from './chaos/report.ts'

const isSlow = process.env['RINGFENCE_SLOW'] === '1'
const deadlineMs = isSlow ? 600_000 : 240_000

const slice: Omit<ChaosOptions, 'logDir'> = {
  seed: Number(process.env['RINGFENCE_SEED'] ?? Date.now() % 1_000_000),
  minutes: isSlow ? 3 : 0.5,
  clients: 4,
  movers: 2,
  version: embeddedVersion,
  paceMs: 3_000,
  stormMs: isSlow ? 40_000 : 10_000,
  calmMs: isSlow ? 15_000 : 5_000,
  pauseMs: 8,
  logStatements: false,
  say: () => undefined,
}

describe('moves back and forth while clients read and write', () => {
  it(
    'lose, double and leave nothing when movers, proxies, shards and ways between them are killed',
    async () => {
      const logDir = await mkdtemp(join(tmpdir(), 'ringfence-moves-'))
      const report = await runChaos({ ...slice, logDir })
      process.stdout.write(`${textOf(report)}\n`)
      expect(report.violations).toEqual([])
      expect(report.ok ? '' : `seed ${report.seed}, logs in ${logDir}`).toBe('')
      await rm(logDir, { recursive: true })
    },
    deadlineMs,
  )
})
