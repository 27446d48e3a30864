// pool.idle_transaction_timeout: a client that is silent inside a transaction does not hold locks for ever.
import { Client } from 'pg'
import { describe, expect, inject, it } from 'vitest'
import { startStack } from '../support/stack.ts'

const [servers] = inject('servers')
if (servers === undefined) throw new Error('the tests have no servers')

describe('a client that falls silent', () => {
  it('inside a transaction is ended with 25P03, and its locks are free', async () => {
    const stack = await startStack(servers, {
      shards: 1,
      database: { idleTransactionTimeoutMs: 300 },
      setupSql: 'CREATE TABLE silent (id int)',
    })
    const silent = new Client(stack.proxy)
    const other = new Client(stack.proxy)
    const ended = new Promise<Error>((resolve) => silent.on('error', resolve))
    try {
      await silent.connect()
      await other.connect()
      await silent.query('BEGIN')
      await silent.query('LOCK TABLE silent')
      await other.query('INSERT INTO silent VALUES (1)')
      expect(await ended).toMatchObject({ code: '25P03' })
      const { rows } = await other.query('SELECT id FROM silent')
      expect(rows).toEqual([{ id: 1 }])
    } finally {
      await other.end()
      await silent.end()
      await stack.close()
    }
  })

  it('outside a transaction is left alone', async () => {
    const stack = await startStack(servers, {
      shards: 1,
      database: { idleTransactionTimeoutMs: 300 },
    })
    const client = new Client(stack.proxy)
    try {
      await client.connect()
      await client.query('SELECT 1')
      await new Promise((resolve) => setTimeout(resolve, 2_500))
      expect((await client.query('SELECT 2 AS two')).rows).toEqual([{ two: 2 }])
    } finally {
      await client.end()
      await stack.close()
    }
  })
})
