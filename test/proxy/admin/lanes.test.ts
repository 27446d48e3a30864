// Statements that share a server are seen in the console like all others.
import { expect, inject, it } from 'vitest'
import { present, until, withClient, withClients } from '../../support/clients.ts'
import { startStack } from '../../support/stack.ts'

it('SHOW LANES, POOLS and STATS count statements of the fast lane', async () => {
  const servers = present(inject('servers')[0])
  const options = {
    shards: 1,
    pool: { size: 2, laneServersMax: 1 },
    setupSql: 'CREATE TABLE t (a int)',
  }
  const stack = await startStack(servers, options)
  try {
    await withClient({ ...stack.proxy, database: 'ringfence' }, async (admin) => {
      const rowOf = async (what: string) =>
        present((await admin.query<Record<string, unknown>>(`SHOW ${what}`)).rows[0])
      const before = await rowOf('STATS_TOTALS')
      await withClients(stack.proxy, 8, async (clients) => {
        for (let at = 0; at < 20; at += 1) {
          await Promise.all(clients.map((client) => client.query('SELECT a FROM t')))
        }
        await until('no server is looked at', async () => (await rowOf('POOLS'))['sv_tested'] === 0)
        expect(await rowOf('POOLS')).toMatchObject({ cl_active: 8, cl_waiting: 0 })
      })
      const after = await rowOf('STATS_TOTALS')
      const grown = (name: string) => Number(after[name]) - Number(before[name])
      expect(grown('query_count')).toBe(160)
      expect(grown('xact_count')).toBe(160)
      expect(grown('server_assignment_count')).toBeGreaterThanOrEqual(160)
      expect(await rowOf('LANES')).toMatchObject({ shard: 's1', riders: 0 })
    })
  } finally {
    await stack.close()
  }
})
