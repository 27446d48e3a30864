// A table whose columns are not the same everywhere yet, as long as DDL is on its way to the servers of each shard.
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import {
  askServer,
  codesOf,
  errorFields,
  present,
  rawClient,
  untilReady,
} from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import { type Stack, startStack } from '../support/stack.ts'

let stack: Stack
beforeAll(async () => {
  stack = await startStack(present(inject('servers')[0]), {
    shards: 2,
    setupSql: 'CREATE TABLE lines (tenant_id bigint PRIMARY KEY, n integer)',
  })
})
afterAll(() => stack?.close())

it('rows of several shards come under one header, or not at all', async () => {
  const { connection } = await rawClient(stack.proxy)
  const ask = async (sql: string) => {
    connection.send(textBytes('Q', sql))
    return untilReady(connection)
  }
  for (let tenant = 1; tenant <= 40; tenant += 1) await ask(`INSERT INTO lines VALUES (${tenant})`)
  expect(codesOf(await ask('SELECT * FROM lines'))).toBe(`T${'D'.repeat(40)}CZ`)
  await askServer(stack.shardUrls[1] ?? '', 'ALTER TABLE lines ADD COLUMN more text')
  for (let turn = 0; turn < 10; turn += 1) {
    const answer = await ask('SELECT * FROM lines')
    expect(errorFields(answer)['C']).toBe('40001')
    const widths = answer
      .filter(({ code }) => 'TD'.includes(code))
      .map(({ bytes }) => bytes.readInt16BE(5))
    expect(new Set(widths).size).toBeLessThanOrEqual(1)
  }
  await askServer(stack.shardUrls[0] ?? '', 'ALTER TABLE lines ADD COLUMN more text')
  expect(codesOf(await ask('SELECT * FROM lines'))).toBe(`T${'D'.repeat(40)}CZ`)
  connection.destroy()
})
