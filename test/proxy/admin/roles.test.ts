// Who may do what in the admin console: every command that it has, by every role, in both protocols.
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { connected, present, refusal } from '../../support/clients.ts'
import { type Stack, startStack } from '../../support/stack.ts'

const secret = { kind: 'password', password: 'secret' } as const
let stack: Stack
beforeAll(async () => {
  stack = await startStack(present(inject('servers')[0]), {
    shards: 1,
    users: [
      { name: 'boss', secret, admin: true },
      { name: 'chief', secret, admin: false },
      { name: 'looker', secret, admin: false },
      { name: 'guest', secret, admin: false },
    ],
    more: { consoleUsers: { admins: new Set(['chief']), stats: new Set(['looker']) } },
  })
})
afterAll(async () => {
  await stack?.close()
})

const as = (user: string, database = 'ringfence') =>
  connected({ ...stack.proxy, user, password: 'secret', database })

/** Each command as somebody may give it, and SQLSTATEs of those that cannot be done here. */
const commands: readonly (readonly [command: string, refused?: string])[] = [
  ['PAUSE %'],
  ['RESUME %'],
  ['DISABLE %'],
  ['ENABLE %'],
  ['RECONNECT %'],
  ['WAIT_CLOSE %'],
  ['KILL %'],
  ['SUSPEND'],
  ['RESUME'],
  ['KILL_CLIENT 1', '3D000'],
  ['RELOAD', 'F0000'],
  ['SET log.level = info', '55P02'],
  ['SHUTDOWN', '55000'],
  ['SHUTDOWN WAIT_FOR_CLIENTS', '55000'],
  ['UPGRADE', '55000'],
]
const harmless = ['SET application_name = x', "set extra_float_digits to '3'"]

async function codeOf(answer: Promise<unknown>): Promise<string> {
  return answer.then(
    () => 'done',
    (error: unknown) => (error instanceof Error && 'code' in error ? String(error.code) : '?'),
  )
}

let prepared = 0
/** A name of its own makes it the extended protocol. */
const extended = (client: Client, text: string) => {
  prepared += 1
  return client.query({ name: `s${prepared}`, text })
}

const both = (client: Client, sql: string) => [client.query(sql), extended(client, sql)]

describe('the admin console', () => {
  it('lets nobody in who is neither admin nor looks after statistics', async () => {
    for (const database of ['ringfence', 'pgbouncer']) {
      const refused = await refusal(as('guest', database))
      expect(refused).toMatchObject({ code: '42501', severity: 'FATAL' })
    }
  })

  it('has no command that is not tried here', async () => {
    const client = await as('boss')
    const { rows } = await client.query<{ command: string }>('SHOW HELP')
    await client.end()
    const names = rows.map(({ command }) => present(command.split(' ')[0]))
    const tried = new Set(commands.map(([command]) => present(command.split(' ')[0])))
    expect(new Set(names)).toEqual(new Set([...tried, 'SHOW']))
  })

  it.each(['boss', 'chief'])('does everything for %s, an admin', async (user) => {
    const client = await as(user)
    for (const [command, refused = 'done'] of commands) {
      const sql = command.replace('%', stack.proxy.database)
      expect([sql, await codeOf(client.query(sql))]).toEqual([sql, refused])
      expect([sql, await codeOf(extended(client, sql))]).toEqual([sql, refused])
    }
    await client.query('RESUME')
    await client.end()
  })

  it('does nothing for who may look, however it is asked', async () => {
    const client = await as('looker')
    for (const [command] of commands) {
      for (const answer of both(client, command.replace('%', stack.proxy.database))) {
        const refused = await refusal(answer)
        expect([command, refused.code]).toEqual([command, '42501'])
        expect(refused.hint).toContain('admin: true')
      }
    }
    for (const answer of both(client, 'SHOW FDS')) {
      expect((await refusal(answer)).code).toBe('42501')
    }
    await client.end()
  })

  it('shows everything to who may look, and takes what drivers set by themselves', async () => {
    const client = await as('looker', 'pgbouncer')
    const own = await as('looker')
    const { rows } = await own.query<{ command: string }>('SHOW HELP')
    const shows = rows.map(({ command }) => command).filter((each) => each.startsWith('SHOW '))
    for (const command of shows.filter((each) => each !== 'SHOW FDS')) {
      for (const answer of [...both(client, command), ...both(own, command)]) await answer
    }
    for (const command of harmless) await Promise.all(both(client, command))
    const refused = await refusal(client.query('SELECT 1'))
    expect(refused.code).toBe('42601')
    await client.end()
    await own.end()
  })
})
