// Methods of auth.rules besides those of login.test.ts, what failed logins cost over real connections, and how many
// may log in at once.
import { createServer, type Socket } from 'node:net'
import { afterEach, describe, expect, inject, it } from 'vitest'
import type { UserOptions } from '../../proxy/accounts.ts'
import type { AuthRuleOptions } from '../../proxy/auth-rules.ts'
import { md5Password } from '../../wire/md5.ts'
import { createVerifier } from '../../wire/scram-keys.ts'
import {
  errorFields,
  present,
  rawClient,
  refusal,
  until,
  untilClosed,
  withClient,
} from '../support/clients.ts'
import { frontendMessage, startupBytes } from '../support/frontend-bytes.ts'
import { RawConnection } from '../support/raw-connection.ts'
import { type Stack, type StackOptions, startStack } from '../support/stack.ts'
import { clientTls, trusting } from '../support/tls-client.ts'
import { logIn, plainAuth } from './auth-fixture.ts'

const servers = present(inject('servers')[0])

let stack: Stack
afterEach(() => stack.close())

const start = async (options: Partial<StackOptions>) => {
  stack = await startStack(servers, { shards: 1, ...options })
}
const rule = (method: AuthRuleOptions['method']): AuthRuleOptions => {
  return { database: null, user: null, address: null, method }
}
const md5Verifier = 'md5bd9b2f028f0da30651d603cf780feee9' // of user "carol" with the password "pencil"
const salt = Buffer.from('0123456789abcdef')
const users: readonly UserOptions[] = [
  { name: 'anna', secret: { kind: 'password', password: 'pencil' }, admin: false },
  {
    name: 'bert',
    secret: { kind: 'verifier', verifier: createVerifier('pencil', { salt }) },
    admin: false,
  },
  { name: 'carol', secret: { kind: 'verifier', verifier: md5Verifier }, admin: false },
]
const as = (user: string, password: string, more: object = {}) => {
  return { ...stack.proxy, user, password, ...more }
}
const wrong = expect.objectContaining({ code: '28P01' })

describe('method plain', () => {
  it('asks for the password itself over TLS, whatever form of it is known', async () => {
    await start({ users, authRules: [rule('plain')], tls: clientTls({ mode: 'allow' }) })
    const ssl = trusting()
    const server = { user: stack.direct.user }
    for (const user of ['anna', 'bert', 'carol']) {
      expect(await logIn(as(user, 'pencil', { ssl }))).toEqual(server)
      expect(await logIn(as(user, 'pen', { ssl }))).toEqual(wrong)
      expect(await logIn(as(user, 'pencil'))).toMatchObject({
        code: '28000',
        message: `the password of user "${user}" would travel unencrypted`,
      })
    }
    expect(await logIn(as('nobody', 'pencil', { ssl }))).toEqual(wrong)
  })
})

describe('method any', () => {
  it('takes every name, and logs it in to servers as server_user', async () => {
    await start({ users: [], authRules: [rule('any')] })
    expect(await logIn(as('whoever', ''))).toEqual({ user: stack.direct.user })
    const console = await logIn(as('whoever', '', { database: 'ringfence' }))
    expect(console).toMatchObject({ code: expect.stringMatching(/^(28000|42501)$/) })
  })

  it('opens the admin console by a rule that names it alone', async () => {
    const admins: readonly UserOptions[] = [
      { name: 'boss', secret: { kind: 'password', password: 'pencil' }, admin: true },
    ]
    const console = () =>
      withClient(as('boss', '', { database: 'ringfence' }), (client) =>
        client.query('SHOW VERSION'),
      )
    await start({ users: admins, authRules: [rule('any')] })
    expect(await refusal(console())).toMatchObject({ code: '28000' })
    await stack.close()
    await start({ users: admins, authRules: [{ ...rule('any'), database: ['ringfence'] }] })
    expect((await console()).rows).toHaveLength(1)
  })

  it('does not open it by a rule for replication, nor by one for all and replication', async () => {
    const admins: readonly UserOptions[] = [
      { name: 'boss', secret: { kind: 'password', password: 'pencil' }, admin: true },
    ]
    const replication = { special: 'replication' } as const
    const all = { special: 'all' } as const
    for (const database of [[replication], [all, replication]]) {
      await start({ users: admins, authRules: [{ ...rule('any'), database }] })
      for (const parameters of [[['replication', 'true']], []] as const) {
        const place = as('boss', '', { database: 'ringfence' })
        const { greeting, connection } = await rawClient(place, { parameters })
        expect(errorFields(greeting)['C']).toMatch(/^(28000|0A000)$/)
        connection.destroy()
      }
      await stack.close()
    }
    await start({})
  })
})

describe('a rule for a database', () => {
  it('that is the console holds under both of its names', async () => {
    const refused = { ...rule('reject'), database: ['ringfence'] }
    await start({ users, authRules: [refused, rule('trust')] })
    for (const database of ['ringfence', 'pgbouncer']) {
      expect(await logIn(as('anna', '', { database }))).toMatchObject({ code: '28000' })
    }
  })

  it('holds under its other names, too', async () => {
    const refused = { ...rule('reject'), database: ['real'] }
    const database = { name: 'real', aliases: ['other'], readOnlyAlias: 'reading' }
    await start({ users, authRules: [refused, rule('scram')], database })
    for (const name of ['real', 'other', 'reading']) {
      expect(await logIn(as('anna', 'pencil', { database: name }))).toMatchObject({ code: '28000' })
    }
  })
})

describe('SCRAM-SHA-256-PLUS', () => {
  it('is what a client over TLS may choose', async () => {
    await start({ users, tls: clientTls({ mode: 'require' }) })
    const bound = { ssl: trusting(), enableChannelBinding: true }
    for (const user of ['anna', 'bert']) {
      expect(await logIn(as(user, 'pencil', bound))).toEqual({ user: stack.direct.user })
      expect(await logIn(as(user, 'pen', bound))).toEqual(wrong)
      expect(await logIn(as(user, 'pencil', { ssl: trusting() }))).toEqual({
        user: stack.direct.user,
      })
    }
  })
})

describe('failed logins', () => {
  const failures = { max: 2, windowMs: 60_000, delayMs: 300, delayMsMax: 500 }

  it('hold up who comes from there, and nobody who has the right password already', async () => {
    await start({ users, auth: { ...plainAuth, failures } })
    const timed = async (user: string, password: string) => {
      const startedMs = performance.now()
      const outcome = await logIn(as(user, password))
      return { outcome, ms: performance.now() - startedMs }
    }
    for (let i = 0; i < 2; i += 1) expect(await logIn(as('anna', 'pen'))).toEqual(wrong)
    const late = await timed('bert', 'pencil')
    expect(late.outcome).toEqual({ user: stack.direct.user })
    expect(late.ms).toBeGreaterThan(200)
    expect(await logIn(as('anna', 'pen'))).toEqual(wrong)
    const logins = Array.from({ length: 6 }, () => logIn(as('nobody', 'pen')))
    const codes = (await Promise.all(logins)).map((each) => ('code' in each ? each.code : 'in'))
    expect(codes).toContain('28P01')
    expect(codes).toContain('28000')
    expect(await logIn(as('bert', 'pencil'))).toEqual({ user: stack.direct.user })
  })

  it('a client that hangs up while it is held up leaves nothing behind', async () => {
    await start({
      users,
      auth: { ...plainAuth, failures: { ...failures, max: 1, delayMsMax: 5_000 } },
    })
    expect(await logIn(as('anna', 'pen'))).toEqual(wrong)
    const connection = await RawConnection.open(stack.proxy)
    connection.send(startupBytes(0, [['user', 'anna']]))
    connection.send(frontendMessage('p', Buffer.from('too early\0')))
    connection.destroy()
    expect(await logIn(as('bert', 'pencil'))).toEqual({ user: stack.direct.user })
  })
})

describe('limits.logins', () => {
  it('keeps places for those who log in from those who say nothing', async () => {
    await start({ users, limits: { loginsMax: 2 } })
    const silent = [await RawConnection.open(stack.proxy), await RawConnection.open(stack.proxy)]
    const refused = await RawConnection.open(stack.proxy)
    expect(errorFields(await untilClosed(refused))).toMatchObject({ S: 'FATAL', C: '53300' })
    await new Promise((resolve) => setTimeout(resolve, 1_100))
    expect(await logIn(as('anna', 'pencil'))).toEqual({ user: stack.direct.user })
    expect(errorFields(await untilClosed(present(silent[0])))).toMatchObject({ C: '53300' })
    present(silent[1]).destroy()
  })
})

describe('a server that asks for md5', () => {
  it('is answered with the hash alone', async () => {
    const heard: string[] = []
    const challenge = Buffer.from([1, 2, 3, 4])
    const server = createServer((socket) => askForMd5(socket, challenge, heard))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    try {
      const [carol] = users.slice(2)
      await start({ users, authRules: [rule('md5')] })
      const [database] = stack.options.databases
      const shards = present(database).shards.map((shard) => ({ ...shard, port }))
      await stack.instance.configure({
        ...stack.options,
        databases: [
          present(database),
          { ...present(database), name: 'hashed', serverUser: null, shards },
        ],
      })
      await logIn(as(present(carol).name, 'pencil', { database: 'hashed' }))
      await until('it was answered', () => heard.length > 0)
      expect(heard[0]).toBe(md5Password('carol', 'pencil', challenge))
    } finally {
      server.close()
    }
  })
})

/** Takes the startup packet, asks, notes the answer, hangs up. */
function askForMd5(socket: Socket, salted: Buffer, heard: string[]): void {
  let asked = false
  socket.on('error', () => undefined)
  socket.on('data', (chunk: Buffer) => {
    if (asked) {
      heard.push(chunk.toString('latin1', 5, chunk.length - 1))
      socket.end()
      return
    }
    // SSLRequest first.
    if (chunk.length === 8) return void socket.write('N')
    asked = true
    socket.write(frontendMessage('R', Buffer.of(0, 0, 0, 5), salted))
  })
}
