// Which table a name means is the server's to say: it goes by the search_path of the login, which roles may have each for itself.
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { present, value, withClient } from '../support/clients.ts'
import { type Stack, startStack } from '../support/stack.ts'
import { runOn, uniqueName } from './auth-fixture.ts'

const [newest] = inject('servers')
const setupSql = `
CREATE TABLE items (n int);
INSERT INTO items VALUES (1);
CREATE SCHEMA theirs;
CREATE TABLE theirs.calls (n int);
CREATE FUNCTION theirs.noted() RETURNS int LANGUAGE sql AS 'INSERT INTO theirs.calls VALUES (1) RETURNING 2';
CREATE VIEW theirs.items AS SELECT theirs.noted() AS n;
GRANT ALL ON SCHEMA theirs TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA theirs, public TO PUBLIC;
`

describe('a login with a search_path of its own', () => {
  const superuser = present(present(newest).shards[0]).url
  const [role, plain] = [uniqueName('pathed'), uniqueName('plain')]
  const password = 'pencil'
  let stack: Stack

  beforeAll(async () => {
    for (const name of [role, plain]) {
      await runOn(superuser, `CREATE ROLE ${name} LOGIN PASSWORD '${password}'`)
    }
    await runOn(superuser, `ALTER ROLE ${role} SET search_path = theirs, public`)
    const users = [role, plain].map((name) => {
      return { name, secret: { kind: 'password', password }, admin: false } as const
    })
    const database = { serverUser: null }
    const pool = { size: 6, laneServersMax: 2 }
    stack = await startStack(present(newest), { shards: 1, users, database, pool })
    await runOn(present(stack.shardUrls[0]), setupSql)
    await present(stack.instance.databases.values().next().value).schemaChanged()
  })
  afterAll(async () => {
    await stack.close()
    for (const name of [role, plain]) await runOn(superuser, `DROP ROLE ${name}`)
  })

  const rides = () => {
    const [database] = stack.instance.databases.values()
    return present(database).pools.reduce((sum, { lane }) => sum + lane.counts.rides, 0)
  }
  const readAs = (user: string) =>
    withClient({ ...stack.proxy, user, password }, async (client) => {
      const before = rides()
      const answers = new Set<string | null>()
      for (let round = 0; round < 50; round += 1) {
        answers.add(await value(client, 'SELECT n FROM items'))
      }
      return { answers: [...answers], rode: rides() > before }
    })

  it('has its reads judged by the tables that it means', async () => {
    expect(await readAs(plain)).toEqual({ answers: ['1'], rode: true })
    expect(await readAs(role)).toEqual({ answers: ['2'], rode: false })
    const calls = await withClient({ ...stack.proxy, user: role, password }, (client) =>
      value(client, 'SELECT count(*) FROM theirs.calls'),
    )
    expect(calls).toBe('50')
  })
})
