// `ringfence rebalance doctor`: what moves have left behind, and what stands in the way of the next one.
import { forgetProxy } from '../../catalog/proxy-registry.ts'
import { examine } from '../../rebalancer/doctor.ts'
import { CommandFailure } from '../load-config.ts'
import { type MoverFlags, readMover, withMoverCatalog } from '../mover.ts'
import { renderTable } from '../table.ts'

export type DoctorFlags = MoverFlags & {
  readonly fix: boolean
  readonly rows: boolean
  readonly forgetProxy?: string
}

const timeoutMs = 3_600_000

/** Exit code 0 when there is nothing to find, or nothing any more; 1 otherwise. */
export async function doctorCommand(
  flags: DoctorFlags,
  out: (text: string) => void,
): Promise<number> {
  const database = await readMover(flags)
  const { forgetProxy: gone } = flags
  if (gone !== undefined) {
    const forgotten = await withMoverCatalog(database, (catalog) => forgetProxy(catalog, gone))
    if (!forgotten) {
      throw new CommandFailure(`proxy "${gone}" is not on the list, or it is alive: stop it first`)
    }
    if (!flags.json) out(`proxy "${gone}" is off the list\n`)
  }
  const { findings, fixed } = await examine({
    database,
    fix: flags.fix,
    rows: flags.rows,
    signal: AbortSignal.timeout(timeoutMs),
  })
  const ok = findings.length === 0
  if (flags.json) {
    out(`${JSON.stringify({ ok, findings, fixed })}\n`)
    return ok ? 0 : 1
  }
  for (const { where, what } of fixed) out(`fixed on ${where}: ${what}\n`)
  if (ok) out('nothing was left behind, and nothing stands in the way\n')
  else
    out(
      renderTable(
        ['where', 'what', 'remedy'],
        findings.map((each) => [each.where, each.what, each.remedy]),
      ),
    )
  return ok ? 0 : 1
}
