// Users of whom only the stored form of the password is known: what they prove to the proxy logs in to the servers.
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import type { UserOptions } from '../../proxy/accounts.ts'
import { createVerifier } from '../../wire/scram-keys.ts'
import { present } from '../support/clients.ts'
import { type Stack, type StackOptions, startStack } from '../support/stack.ts'
import { logIn, runOn, uniqueName } from './auth-fixture.ts'

describe.each(inject('servers'))('PostgreSQL $version', (servers) => {
  const superuser = present(servers.shards[0]).url
  const role = uniqueName('passed')
  const password = 'pässwörd, with a comma'
  let verifier = ''
  let stack: Stack

  beforeAll(async () => {
    await runOn(superuser, `CREATE ROLE ${role} LOGIN PASSWORD '${password}'`)
    const sql = `SELECT rolpassword FROM pg_authid WHERE rolname = '${role}'`
    verifier = (await runOn(superuser, sql))[0] ?? ''
  })
  afterAll(() => runOn(superuser, `DROP ROLE ${role}`))
  afterEach(() => stack.close())

  const start = async (users: readonly UserOptions[], options: Partial<StackOptions> = {}) => {
    const database = { serverUser: null, ...options.database }
    stack = await startStack(servers, { shards: 1, users, ...options, database })
  }
  const verified = (text: string): UserOptions => {
    return { name: role, secret: { kind: 'verifier', verifier: text }, admin: false }
  }
  const as = (secret: string) => ({ ...stack.proxy, user: role, password: secret })

  it('a SCRAM verifier lets the right password in, on the server as that user', async () => {
    await start([verified(verifier)])
    expect(await logIn(as(password))).toEqual({ user: role })
    expect(await logIn(as('wrong'))).toMatchObject({ code: '28P01' })
    expect(await logIn(as(password))).toEqual({ user: role })
  })

  it('many connections of one pool are opened with the keys of one login', async () => {
    await start([verified(verifier)], { pool: { size: 5 } })
    const all = await Promise.all(Array.from({ length: 5 }, () => logIn(as(password))))
    expect(all).toEqual(Array.from({ length: 5 }, () => ({ user: role })))
  })

  it('a verifier of the same password with another salt is refused by name, not tried', async () => {
    await start([verified(createVerifier(password, { salt: Buffer.alloc(16, 3) }))])
    expect(await logIn(as(password))).toMatchObject({
      code: '28000',
      message: expect.stringContaining('another SCRAM verifier'),
    })
  })

  it('the server’s own words come through when it knows another password', async () => {
    await start([{ name: role, secret: { kind: 'password', password: 'old' }, admin: false }])
    expect(await logIn(as('old'))).toEqual({
      code: '28P01',
      message: `password authentication failed for user "${role}"`,
    })
  })

  it('a password that is changed everywhere works at once for connections to come', async () => {
    const other = uniqueName('changed')
    await runOn(superuser, `CREATE ROLE ${other} LOGIN PASSWORD 'one'`)
    try {
      const user = (secret: string): UserOptions => {
        return { name: other, secret: { kind: 'password', password: secret }, admin: false }
      }
      await start([user('one')], { pool: { size: 1 } })
      const there = { ...stack.proxy, user: other }
      expect(await logIn({ ...there, password: 'one' })).toEqual({ user: other })
      await runOn(superuser, `ALTER ROLE ${other} PASSWORD 'two'`)
      const sql = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${other}'`
      await runOn(superuser, sql)
      await stack.instance.configure({ ...stack.options, users: [user('two')] })
      expect(await logIn({ ...there, password: 'one' })).toMatchObject({ code: '28P01' })
      expect(await logIn({ ...there, password: 'two' })).toEqual({ user: other })
    } finally {
      await runOn(superuser, `DROP ROLE ${other}`)
    }
  })

  it('a login that servers refused does not hold up who proves something else', async () => {
    const other = uniqueName('repaired')
    await runOn(superuser, `CREATE ROLE ${other} LOGIN PASSWORD 'right'`)
    try {
      const user = (secret: string): UserOptions => {
        return { name: other, secret: { kind: 'password', password: secret }, admin: false }
      }
      await start([user('wrong')])
      const there = { ...stack.proxy, user: other }
      expect(await logIn({ ...there, password: 'wrong' })).toMatchObject({ code: '28P01' })
      expect(await logIn({ ...there, password: 'wrong' })).toMatchObject({ code: '28P01' })
      await stack.instance.configure({ ...stack.options, users: [user('right')] })
      expect(await logIn({ ...there, password: 'right' })).toEqual({ user: other })
    } finally {
      await runOn(superuser, `DROP ROLE ${other}`)
    }
  })

  it('who is trusted without a password is let in by servers that trust, and by no others', async () => {
    const rule = { database: null, user: null, address: null, method: 'trust' } as const
    await start([verified(verifier)], { authRules: [rule] })
    expect(await logIn(as(''))).toMatchObject({
      code: '28000',
      message: expect.stringContaining('asks for a password'),
    })
  })
})
