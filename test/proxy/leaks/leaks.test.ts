// A slice of the leak checker. `node test/proxy/leaks/run.ts` runs as much of it as one likes; RINGFENCE_STEPS and
// RINGFENCE_SEED choose another slice.
import { expect, inject, it } from 'vitest'
import { present } from '../../support/clients.ts'
import { checkLeaks } from './checker.ts'

const steps = Number(process.env['RINGFENCE_STEPS'] ?? 1_200)
const seed = Number(process.env['RINGFENCE_SEED'] ?? 7)

it('20 clients over 4 servers leave nothing to each other and lose nothing', {
  timeout: 60_000 + steps * 50,
}, async () => {
  const servers = present(inject('servers')[0])
  const lanes = 5
  const progress = () => undefined
  const result = await checkLeaks({
    servers,
    mode: 'transaction',
    clients: 20,
    poolSize: 4,
    lanes,
    steps,
    seed,
    progress,
  })
  expect(result.differences, `RINGFENCE_SEED=${seed}`).toEqual([])
  expect(result.steps).toBeGreaterThanOrEqual(steps)
})
