// Whether moves have left anything behind: what `rebalance doctor` says, and what the servers say themselves.
import { waitUntil } from '../../../demo/process.ts'
import { withClient } from '../../../demo/sql.ts'
import type { ChaosStack } from './stack.ts'

const preparedDeadlineMs = 90_000
const doctorDeadlineMs = 60_000

/** Nothing a move makes survives it. */
const remainsSql = `
  SELECT 'slot ' || slot_name AS what FROM pg_replication_slots
  UNION ALL SELECT 'publication ' || pubname FROM pg_publication
  UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgname LIKE 'ringfence%'
  UNION ALL SELECT 'position of move ' || move_id FROM ringfence.move_progress
  UNION ALL SELECT 'origin ' || roname FROM pg_replication_origin
  UNION ALL SELECT 'full identity of ' || relname FROM pg_class WHERE relreplident = 'f' AND oid >= 16384
  UNION ALL SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts
  UNION ALL SELECT 'session ' || application_name FROM pg_stat_activity WHERE application_name LIKE 'ringfence mov%'`

/** Waits for transactions in doubt, which recovery settles within its rounds. */
export async function untilSettled(stack: ChaosStack): Promise<boolean> {
  const settled = async () => {
    for (const { id } of stack.shards) {
      const { rowCount } = await withClient(stack.url(id), (client) =>
        client.query('SELECT FROM pg_prepared_xacts'),
      )
      if (rowCount !== 0) return false
    }
    return true
  }
  return await waitUntil(settled, preparedDeadlineMs)
}

/** What is left, one line each. */
export async function findRemains(stack: ChaosStack): Promise<readonly string[]> {
  const found: string[] = []
  for (const { id } of stack.shards) {
    const rows = await withClient(stack.url(id), async (client) => {
      const answer = await client.query<{ what: string }>(remainsSql)
      return answer.rows
    })
    found.push(...rows.map(({ what }) => `${id}: ${what}`))
  }
  const unfinished = await withClient(stack.catalogUrl, async (client) => {
    const { rows } = await client.query<{ what: string }>(
      `SELECT 'move ' || id || ' ' || state AS what FROM ringfence.move WHERE state NOT IN ('done', 'aborted')
       UNION ALL SELECT 'virtual node ' || vnode || ' of move ' || move_id
                 FROM ringfence.vnode WHERE move_id IS NOT NULL`,
    )
    return rows
  })
  found.push(...unfinished.map(({ what }) => `catalog: ${what}`))
  const doctor = await stack.startMover(0, ['doctor'])
  const said = doctor.hasWritten(/nothing was left behind/, doctorDeadlineMs)
  if (!(await said)) found.push(`doctor: ${await doctor.output()}`)
  await doctor.kill()
  return found
}
