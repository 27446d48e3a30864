// Users who are listed nowhere are looked up on a server, as a role that can do nothing else.
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { type AuthQueryOptions, validUntilMsOf } from '../../proxy/auth-query.ts'
import { Proxy } from '../../proxy/proxy.ts'
import { present, until } from '../support/clients.ts'
import { type Stack, startStack } from '../support/stack.ts'
import { logIn, plainAuth, runOn, uniqueName } from './auth-fixture.ts'

const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`
/** What docs/authentication.md says that a superuser runs. */
function documented(asker: string): string {
  const page = readFileSync(new URL('../../docs/authentication.md', import.meta.url), 'utf8')
  const [, sql = ''] = /```sql\n([^`]*)```/.exec(page) ?? []
  return sql.replaceAll('ringfence_auth', asker).replace("'…'", "'asks'")
}
const literal = (text: string) => `'${text.replaceAll("'", "''")}'`

describe.each(inject('servers'))('PostgreSQL $version', (servers) => {
  const superuser = present(servers.shards[0]).url
  const asker = uniqueName('asker')
  const role = uniqueName('looked_up')
  let stack: Stack

  beforeAll(async () => {
    await runOn(superuser, `CREATE ROLE ${role} LOGIN PASSWORD 'pencil'`)
    stack = await startStack(servers, { shards: 1, users: [], database: { serverUser: null } })
    const [url = ''] = stack.shardUrls
    await runOn(url, documented(asker))
  })
  afterAll(async () => {
    await stack.close()
    for (const each of [asker, role]) await runOn(superuser, `DROP ROLE ${each}`)
  })

  const standard: AuthQueryOptions = {
    user: asker,
    password: 'asks',
    sql: `SELECT * FROM ${asker}.user_of($1)`,
    database: null,
    cacheMs: 0,
    timeoutMs: 5_000,
    connectionsMax: 2,
  }

  /** The proxy looks users up like this from now on. */
  const start = async (query: Partial<AuthQueryOptions> = {}) => {
    const auth = { ...plainAuth, query: { ...standard, ...query } }
    await stack.instance.configure({ ...stack.options, auth })
  }
  const as = (user: string, password: string) => ({ ...stack.proxy, user, password })

  it('a user of the server logs in with what the server stores of him', async () => {
    await start()
    expect(await logIn(as(role, 'pencil'))).toEqual({ user: role })
    expect(await logIn(as(role, 'wrong'))).toMatchObject({ code: '28P01' })
    expect(await logIn(as('nobody_at_all', 'pencil'))).toMatchObject({ code: '28P01' })
  })

  it('the standard statement serves who may read pg_shadow', async () => {
    await start({
      user: new URL(superuser).username,
      password: decodeURIComponent(new URL(superuser).password),
      sql: 'SELECT usename, passwd, valuntil FROM pg_catalog.pg_shadow WHERE usename = $1',
    })
    expect(await logIn(as(role, 'pencil'))).toEqual({ user: role })
  })

  it('a new password counts at the next login, an old one no longer', async () => {
    await start({ cacheMs: 60_000 })
    const other = uniqueName('renewed')
    await runOn(superuser, `CREATE ROLE ${other} LOGIN PASSWORD 'one'`)
    try {
      expect(await logIn(as(other, 'one'))).toEqual({ user: other })
      await runOn(superuser, `ALTER ROLE ${other} PASSWORD 'two'`)
      // The answer of before is forgotten by the login that fails with it.
      expect(await logIn(as(other, 'two'))).toMatchObject({ code: '28P01' })
      expect(await logIn(as(other, 'two'))).toEqual({ user: other })
      expect(await logIn(as(other, 'one'))).toMatchObject({ code: '28P01' })
    } finally {
      await runOn(superuser, `DROP ROLE ${other}`)
    }
  })

  it('a password that has expired is a wrong one, as on the server', async () => {
    await start()
    const other = uniqueName('expiring')
    await runOn(superuser, `CREATE ROLE ${other} LOGIN PASSWORD 'one'`)
    try {
      const outcomes = []
      for (const date of ['infinity', '2100-01-01 00:00+00', '2020-01-01', '-infinity']) {
        await runOn(superuser, `ALTER ROLE ${other} VALID UNTIL '${date}'`)
        const outcome = await logIn(as(other, 'one'))
        const direct = await logIn({ ...stack.direct, user: other, password: 'one' })
        expect(outcome).toEqual(direct)
        outcomes.push('user' in outcome)
      }
      expect(outcomes).toEqual([true, true, false, false])
    } finally {
      await runOn(superuser, `DROP ROLE ${other}`)
    }
  })

  it('names are parameters, whatever they are made of', async () => {
    await start()
    const names = [`x' OR '1'='1`, `x"; DROP ROLE y; --`, `$1`, `\\'); SELECT 1 --`, `ü ${asker}`]
    for (const name of names) {
      expect(await logIn(as(name, 'pencil'))).toMatchObject({ code: '28P01' })
      await runOn(superuser, `CREATE ROLE ${quoted(name)} LOGIN PASSWORD 'odd'`)
      try {
        expect(await logIn(as(name, 'odd'))).toEqual({ user: name })
      } finally {
        await runOn(superuser, `DROP ROLE ${quoted(name)}`)
      }
    }
  })

  it('a name longer than PostgreSQL has any is not cut to that of somebody else', async () => {
    await start()
    const name = uniqueName('long').padEnd(63, 'x')
    await runOn(superuser, `CREATE ROLE ${name} LOGIN PASSWORD 'long'`)
    try {
      expect(await logIn(as(name, 'long'))).toEqual({ user: name })
      expect(await logIn(as(`${name}y`, 'long'))).toMatchObject({ code: '28P01' })
    } finally {
      await runOn(superuser, `DROP ROLE ${name}`)
    }
  })

  it('nothing of the client reaches the connections that ask', async () => {
    await start({ sql: `SELECT * FROM ${asker}.seen_of($1)` })
    const [url = ''] = stack.shardUrls
    await runOn(url, `CREATE TABLE ${asker}.seen (path text, app text, who text)`)
    await runOn(
      url,
      `CREATE FUNCTION ${asker}.seen_of(wanted text, OUT name text, OUT password text)
       LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
         INSERT INTO ${asker}.seen VALUES (current_setting('search_path'),
           current_setting('application_name'), session_user);
         SELECT rolname, rolpassword INTO name, password FROM pg_authid WHERE rolname = wanted;
       END $$`,
    )
    await runOn(url, `CREATE SCHEMA evil; CREATE TABLE evil.pg_authid (rolname text)`)
    const place = {
      ...as(role, 'pencil'),
      application_name: 'evil',
      options: '-c search_path=evil',
    }
    expect(await logIn(place)).toEqual({ user: role })
    const seen = await runOn(url, `SELECT DISTINCT row(path, app, who)::text FROM ${asker}.seen`)
    expect(seen).toEqual([`(pg_catalog,"",${asker})`])
  })

  it('a storm of logins asks once for each name and opens few connections', async () => {
    await start({ cacheMs: 60_000, connectionsMax: 2 })
    const all = await Promise.all(Array.from({ length: 30 }, () => logIn(as(role, 'pencil'))))
    expect(new Set(all.map((each) => JSON.stringify(each)))).toEqual(
      new Set([JSON.stringify({ user: role })]),
    )
    const sql = `SELECT count(*) FROM pg_stat_activity WHERE usename = ${literal(asker)}`
    expect(Number((await runOn(superuser, sql))[0])).toBeLessThanOrEqual(2)
  })

  it.each([
    ['more than one row', `SELECT 'x', 'y' UNION ALL SELECT $1, 'z'`],
    ['another user’s row', `SELECT 'postgres', rolpassword FROM pg_roles WHERE $1 <> ''`],
    ['a mistake', `SELECT nothing FROM nowhere WHERE x = $1`],
    ['one column', `SELECT $1::text`],
    ['a date that is none', `SELECT $1::text, 'x', 'soon'`],
  ])(
    'a statement that gives %s lets nobody in, and tells clients no details',
    async (_what, sql) => {
      await start({ sql })
      expect(await logIn(as(role, 'pencil'))).toEqual({
        code: '08001',
        message: 'users cannot be looked up now',
      })
    },
  )

  it('connections that died while idle are replaced without anybody noticing', async () => {
    await start()
    expect(await logIn(as(role, 'pencil'))).toEqual({ user: role })
    const sql = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${asker}'`
    // One of a connection that has been closed may still be there.
    expect(await runOn(superuser, sql)).not.toEqual([])
    expect(await logIn(as(role, 'pencil'))).toEqual({ user: role })
  })

  it('a server that does not answer is not waited for longer than the timeout', async () => {
    await start({ timeoutMs: 300, sql: `SELECT $1::text, pg_sleep(30)::text` })
    const started = performance.now()
    expect(await logIn(as(role, 'pencil'))).toMatchObject({ code: '08001' })
    expect(performance.now() - started).toBeLessThan(5_000)
  })

  it('a question that was given up does not keep its connection on the server', async () => {
    const sql = `SELECT $1::text, pg_sleep(30)::text /* ${uniqueName('slow')} */`
    await start({ timeoutMs: 300, sql })
    for (let count = 0; count < 3; count += 1) {
      expect(await logIn(as(role, 'pencil'))).toMatchObject({ code: '08001' })
    }
    const asked = `SELECT count(*) FROM pg_stat_activity WHERE query = ${literal(sql)}`
    await until('they have ended', async () => (await runOn(superuser, asked))[0] === '0', 5_000)
  })

  it('a server that is down is told at once, listed users go on', async () => {
    const admin = { kind: 'password', password: 'pencil' } as const
    const [database] = stack.options.databases
    const shards = present(database).shards.map((each) => ({ ...each, port: 1 }))
    const proxy = await Proxy.start({
      ...stack.options,
      auth: { ...plainAuth, query: { ...standard, timeoutMs: 1_000 } },
      users: [{ name: role, secret: admin, admin: true }],
      databases: [{ ...present(database), shards }],
    })
    try {
      const there = { ...stack.proxy, port: proxy.port }
      expect(await logIn({ ...there, user: 'nobody', password: 'x' })).toMatchObject({
        code: '08001',
        message: 'users cannot be looked up now',
      })
      const console = { ...there, user: role, password: 'pencil', database: 'ringfence' }
      expect(await logIn(console)).not.toMatchObject({ code: '08001' })
    } finally {
      await proxy.close()
    }
  })
})

describe('a user list', () => {
  const [servers] = inject('servers')

  it('lets its users in, is read again when it changes, and a wrong one changes nothing', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'users-'))
    const file = join(dir, 'userlist.txt')
    await writeFile(file, '"anna" "pencil"\n"bert" "md5bd9b2f028f0da30651d603cf780feee9"\n')
    const auth = { ...plainAuth, file }
    const stack = await startStack(present(servers), { shards: 1, users: [], auth })
    try {
      const login = (user: string, password: string) => logIn({ ...stack.proxy, user, password })
      const server = { user: stack.direct.user }
      expect(await login('anna', 'pencil')).toEqual(server)
      expect(await login('anna', 'pen')).toMatchObject({ code: '28P01' })
      expect(await login('carol', 'pencil')).toMatchObject({ code: '28P01' })
      await writeFile(file, '"anna" "pencil"\n"carol" "pencil"\n')
      await until('carol is in', async () => 'user' in (await login('carol', 'pencil')), 10_000)
      await writeFile(file, 'carol pencil\n')
      await new Promise((resolve) => setTimeout(resolve, 1_500))
      expect(await login('anna', 'pencil')).toEqual(server)
      await expect(stack.instance.configure(stack.options)).rejects.toThrow(
        `${file}, line 1: expected "name" "password"`,
      )
    } finally {
      await stack.close()
      await rm(dir, { recursive: true })
    }
  })
})

describe('until when a password is valid', () => {
  it.each([
    [null, Number.POSITIVE_INFINITY],
    ['infinity', Number.POSITIVE_INFINITY],
    ['-infinity', Number.NEGATIVE_INFINITY],
    ['2024-02-29 12:30:45+00', Date.UTC(2024, 1, 29, 12, 30, 45)],
    ['2024-02-29 12:30:45.678+05:30', Date.UTC(2024, 1, 29, 7, 0, 45)],
    ['2024-02-29 00:30:00-03:30', Date.UTC(2024, 1, 29, 4, 0, 0)],
    ['2024-02-29', Date.UTC(2024, 1, 29)],
    ['0044-03-15 00:00:00+00 BC', Number.NEGATIVE_INFINITY],
    ['294276-12-31 00:00:00+00', Number.POSITIVE_INFINITY],
  ])('%j is understood', (text, ms) => {
    expect(validUntilMsOf(text)).toBe(ms)
  })

  it.each(['', 'soon', 'Thu 29 Feb 2024', '2024-02-29T00:00:00Z', '1; DROP'])(
    '%j is not',
    (text) => {
      expect(() => validUntilMsOf(text)).toThrow('not a point in time')
    },
  )
})
