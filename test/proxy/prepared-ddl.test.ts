// Named statements of the protocol whose tables or search_path change after they were described: the same answers as
// plain PostgreSQL gives, which parses anew what is prepared anew and refuses what its client knows otherwise.
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { connected, present } from '../support/clients.ts'
import { type Stack, startStack } from '../support/stack.ts'

const servers = present(inject('servers')[0])

/** `name = sql` prepares and describes under that name, later lines with the name alone run it again. */
type Script = readonly string[]

const scripts: Readonly<Record<string, Script>> = {
  'DDL of the own transaction': [
    'CREATE TABLE own AS SELECT 1 AS one',
    'p = SELECT * FROM own',
    'BEGIN',
    'p',
    'ALTER TABLE own ADD COLUMN two int',
    'q = SELECT * FROM own',
    'ALTER TABLE own ADD COLUMN three int',
    'r = SELECT * FROM own',
    'SAVEPOINT s',
    'q',
    'ROLLBACK TO s',
    'ALTER TABLE own DROP COLUMN three',
    'q2 = SELECT * FROM own',
    'ROLLBACK TO s',
    'r2 = SELECT * FROM own',
    'COMMIT',
    'r',
    'r2',
    'p',
    'ALTER TABLE own DROP COLUMN two, DROP COLUMN three',
    'p',
    'r',
    'BEGIN',
    'ALTER TABLE own ADD COLUMN two int',
    's = SELECT * FROM own',
    'ROLLBACK',
    's',
    'p',
    'DROP TABLE own',
  ],
  'a temporary table': [
    'CREATE TEMP TABLE brief AS SELECT 1 AS one',
    'p = SELECT * FROM brief',
    'ALTER TABLE brief ADD COLUMN two int',
    'q = SELECT * FROM brief',
    'p',
    'q',
    'ALTER TABLE brief DROP COLUMN two',
    'p',
    'q',
    'DROP TABLE brief',
    'p',
  ],
  'another search_path': [
    'CREATE SCHEMA narrow',
    'CREATE SCHEMA wide',
    'CREATE TABLE narrow.t AS SELECT 1 AS n',
    "CREATE TABLE wide.t AS SELECT 2 AS n, 'w' AS more",
    'SET search_path = narrow',
    'p = SELECT * FROM t',
    'n = SELECT n FROM t',
    'SET search_path = wide',
    'p',
    'n',
    'q = SELECT * FROM t',
    'SET search_path = narrow',
    'p',
    'n',
    'q',
    'BEGIN',
    'SET LOCAL search_path = wide',
    'n',
    'q',
    'p',
    'ROLLBACK',
    'p',
    'DROP SCHEMA narrow, wide CASCADE',
  ],
}

let stack: Stack
beforeAll(async () => {
  stack = await startStack(servers, { shards: 1, pool: { size: 2 } })
})
afterAll(() => stack.close())

describe('a statement is what PostgreSQL says it is after', () => {
  it.each(Object.entries(scripts))('%s', async (_, script) => {
    const told = await toldBy('proxy', script)
    expect(told).toEqual(await toldBy('direct', script))
  })
})

async function toldBy(place: 'direct' | 'proxy', script: Script): Promise<string[]> {
  const client = await connected(stack[place])
  const texts = new Map<string, string>()
  const told: string[] = []
  try {
    for (const line of script) told.push(`${line} → ${await answerTo(client, texts, line)}`)
  } finally {
    await client.end()
  }
  return told
}

async function answerTo(client: Client, texts: Map<string, string>, line: string): Promise<string> {
  const [, defined, sql = ''] = /^(\w+) = (.*)$/.exec(line) ?? []
  if (defined !== undefined) texts.set(defined, sql)
  const name = defined ?? line
  const text = texts.get(name)
  try {
    const { rows } = await client.query(
      text === undefined ? { text: line, rowMode: 'array' } : { name, text, rowMode: 'array' },
    )
    return JSON.stringify(rows)
  } catch (error) {
    return error instanceof Error ? error.message : 'no error'
  }
}
