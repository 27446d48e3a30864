// Servers that an administrator ends one after the other, each with the same read at work, as in a restart of a busy
// server: the read is run again. One that he ends again and again is not run for ever.
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import type { Client } from 'pg'
import { askServer, connected, present, until, value, withClient } from '../support/clients.ts'
import { type Stack, startStack } from '../support/stack.ts'

const read = 'SELECT id FROM items WHERE id = $1'
const waiting = `FROM pg_stat_activity
  WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'SELECT id%'`

let stack: Stack
let url: string
let locker: Client
beforeAll(async () => {
  stack = await startStack(present(inject('servers')[0]), {
    shards: 1,
    pool: { size: 6, laneServersMax: 2 },
    database: { failover: { waitMs: 10_000, probeMs: 1_000 } },
    setupSql: 'CREATE TABLE items AS SELECT g AS id FROM generate_series(1, 100) g',
  })
  url = present(stack.shardUrls[0])
  locker = await connected({ connectionString: url })
})
afterAll(async () => {
  await locker.end()
  await stack.close()
})

/** The read of a client whose server is ended `times` times; true: it was answered then, false: it was told. */
async function outlives(times: number): Promise<boolean> {
  return await withClient(stack.proxy, async (client) => {
    // Tables are known some time after they were created.
    await until('reads of the table ride', async () => {
      await value(client, read, [1])
      return lanes().some(({ counts }) => counts.rides > 0)
    })
    await locker.query('BEGIN; LOCK TABLE items')
    const state = { over: false }
    const answer = value(client, read, [7])
      .then(
        (found) => found === '7',
        () => false,
      )
      .finally(() => {
        state.over = true
      })
    for (let time = 0; time < times && !state.over; time += 1) {
      await until('it runs', async () => {
        if (state.over) return true
        const ended = await askServer(url, `SELECT pg_terminate_backend(pid) ${waiting}`)
        return ended.length > 0
      })
    }
    await locker.query('ROLLBACK')
    return await answer
  })
}

it('a read that loses several servers in a moment is run again', async () => {
  expect(await outlives(6)).toBe(true)
})

it('a read whose server is ended whenever it runs is told so in the end', async () => {
  expect(await outlives(40)).toBe(false)
  expect(stack.poolStats()).toMatchObject({ leased: 0, waiting: 0 })
})

/** Of all pools. */
function lanes() {
  const databases = [...stack.instance.databases.values()]
  return databases.flatMap(({ pools }) => pools.map(({ lane }) => lane))
}
