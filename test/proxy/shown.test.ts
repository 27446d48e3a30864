// PostgreSQL makes a commit visible on a replica before the primary does. A session that goes from one to the
// other must not go back in time.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { demoUrl } from '../../demo/cluster.ts'
import { withClient } from '../../demo/sql.ts'
import { connected, value, withPair } from '../support/clients.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import { firstShard } from './replica-fixture.ts'

const setupSql = `
CREATE TABLE counters (id integer PRIMARY KEY, version integer)

INSERT INTO counters VALUES (1, 0), (2, 0)
`
const read = 'SELECT version FROM counters WHERE id = 1'
const onPrimary = `/* ringfence:primary */ ${read}`

let stack: ReplicatedStack

beforeAll(async () => {
  stack = await startReplicatedStack({ shards: 1, replicas: 1, proxies: 2, setupSql })
}, 60_000)

afterAll(async () => {
  await stack.stop()
})

/** Runs `work` while a commit hangs on the primary: it waits for a synchronous replica that does not exist. */
async function whileCommitHangs(work: () => Promise<void>): Promise<void> {
  const primary = firstShard(stack).primary.server
  const standbys = async (names: string) => {
    await withClient(primary.url(), async (client) => {
      await client.query(`ALTER SYSTEM SET synchronous_standby_names = '${names}'`)
      await client.query('SELECT pg_reload_conf()')
    })
  }
  await standbys('nobody')
  const hanging = withClient(demoUrl(primary), (client) =>
    client.query('UPDATE counters SET version = version + 1 WHERE id = 1'),
  )
  try {
    await work()
  } finally {
    await standbys('')
    await hanging
  }
}

describe('a session that has seen a commit on a replica', () => {
  it('is told 40001 by a primary that does not show it within a second, then sees it there', async () => {
    await withPair(stack.place(0), async (client, bystander) => {
      const before = Number(await value(client, onPrimary))
      await whileCommitHangs(async () => {
        await expect.poll(() => value(client, read)).toBe(String(before + 1))
        await expect(client.query(onPrimary)).rejects.toMatchObject({ code: '40001' })
        await expect(client.query('DELETE FROM counters WHERE id = 2')).rejects.toMatchObject({
          code: '40001',
        })
        // Who has not seen it loses nothing.
        expect(await value(bystander, onPrimary)).toBe(String(before))
        // The replica goes on to serve.
        expect(await value(client, read)).toBe(String(before + 1))
      })
      expect(await value(client, onPrimary)).toBe(String(before + 1))
    })
  })

  it('hands that on with its token, to another proxy too', async () => {
    const one = await connected(stack.place(0))
    const other = await connected(stack.place(1))
    try {
      const before = Number(await value(one, onPrimary))
      await whileCommitHangs(async () => {
        await expect.poll(() => value(one, read)).toBe(String(before + 1))
        const token = await value(one, 'SHOW ringfence.session_token')
        await other.query(`SET ringfence.session_token = '${token}'`)
        await expect(other.query(onPrimary)).rejects.toMatchObject({ code: '40001' })
      })
      expect(await value(other, onPrimary)).toBe(String(before + 1))
    } finally {
      await Promise.all([one.end(), other.end()])
    }
  })

  it('is not kept waiting by transactions that are merely open', async () => {
    await withPair(stack.place(0), async (client, writer) => {
      await writer.query('BEGIN')
      await writer.query('UPDATE counters SET version = version + 1 WHERE id = 2')
      await value(client, read)
      expect(await value(client, onPrimary)).toBe(await value(client, read))
      await writer.query('ROLLBACK')
    })
  })
})
