// Logging in: who gets in by which method, what everybody else is told, and what bounds a connection
// that is nobody yet.
import { afterEach, describe, expect, inject, it } from 'vitest'
import type { ProxyOptions } from '../../proxy/proxy.ts'
import { createVerifier } from '../../wire/scram-keys.ts'
import {
  codesOf,
  connected,
  errorFields,
  present,
  rawClient,
  refusal,
  rowsOf,
  until,
  untilClosed,
  untilReady,
  value,
  withClient,
  withClients,
} from '../support/clients.ts'
import {
  frontendMessage,
  saslInitialBytes,
  startupBytes,
  textBytes,
} from '../support/frontend-bytes.ts'
import { type Endpoint, RawConnection } from '../support/raw-connection.ts'
import { type Stack, type StackOptions, startStack } from '../support/stack.ts'

const servers = present(inject('servers')[0])

let stack: Stack
afterEach(() => stack.close())

async function start(options: Partial<StackOptions> = {}): Promise<Stack> {
  stack = await startStack(servers, { shards: 1, ...options })
  return stack
}

type Rule = NonNullable<StackOptions['authRules']>[number]
type Users = ProxyOptions['users']

const everybody: Omit<Rule, 'method'> = { database: null, user: null, address: null }
const rule = (method: Rule['method'], who: Partial<Rule> = {}): Rule => ({
  ...everybody,
  method,
  ...who,
})
const md5Verifier = 'md5bd9b2f028f0da30651d603cf780feee9' // of user "carol" with the password "pencil"
const users: Users = [
  { name: 'anna', secret: { kind: 'password', password: 'pencil' }, admin: true },
  {
    name: 'bert',
    secret: {
      kind: 'verifier',
      verifier: createVerifier('pencil', { salt: Buffer.from('0123456789abcdef') }),
    },
    admin: false,
  },
  { name: 'carol', secret: { kind: 'verifier', verifier: md5Verifier }, admin: false },
]

const as = (user: string, password = 'pencil'): Endpoint => ({ ...stack.proxy, user, password })

/** Codes of what a login was answered: 'RS…KZ' when it succeeded, else the SQLSTATE. */
async function loginOutcome(place: Endpoint): Promise<string> {
  const { connection, greeting } = await rawClient(place)
  connection.destroy()
  return errorFields(greeting)['C'] ?? 'in'
}

describe('a user', () => {
  it.each([
    { method: 'scram', who: 'anna', password: 'pencil', outcome: 'in' },
    { method: 'scram', who: 'bert', password: 'pencil', outcome: 'in' },
    { method: 'md5', who: 'anna', password: 'pencil', outcome: 'in' },
    { method: 'md5', who: 'carol', password: 'pencil', outcome: 'in' },
    // A SCRAM verifier cannot answer md5: the client is asked for SCRAM, as by PostgreSQL.
    { method: 'md5', who: 'bert', password: 'pencil', outcome: 'in' },
    { method: 'trust', who: 'bert', password: '', outcome: 'in' },
    { method: 'trust', who: 'nobody', password: '', outcome: '28P01' },
    { method: 'scram', who: 'anna', password: 'pen', outcome: '28P01' },
    { method: 'scram', who: 'bert', password: 'pen', outcome: '28P01' },
    { method: 'scram', who: 'carol', password: 'pencil', outcome: '28P01' },
    { method: 'scram', who: 'nobody', password: 'pencil', outcome: '28P01' },
    { method: 'md5', who: 'carol', password: 'pen', outcome: '28P01' },
    { method: 'md5', who: 'nobody', password: 'pencil', outcome: '28P01' },
    { method: 'reject', who: 'anna', password: 'pencil', outcome: '28000' },
  ] as const)('$who with method $method: $outcome', async ({ method, who, password, outcome }) => {
    await start({ users, authRules: [rule(method)] })
    expect(await loginOutcome(as(who, password))).toBe(outcome)
  })

  it('that does not exist is answered as one whose password is wrong', async () => {
    await start({ users, authRules: [rule('scram')] })
    const wrong = await refusal(connected(as('anna', 'wrong')))
    const unknown = await refusal(connected(as('nobody', 'wrong')))
    expect(wrong).toMatchObject({ code: '28P01', severity: 'FATAL' })
    expect({ ...unknown, message: unknown.message.replace('nobody', 'anna') }).toEqual(wrong)
  })

  it('that does not exist has a salt of its own that stays the same', async () => {
    await start({ users, authRules: [rule('scram')] })
    const challenge = async (user: string) => {
      const connection = await RawConnection.open(stack.proxy)
      connection.send(startupBytes(0, [['user', user]]))
      await connection.next(5_000)
      connection.send(saslInitialBytes('SCRAM-SHA-256', 'n,,n=,r=abc'))
      const answer = await connection.next(5_000)
      connection.destroy()
      const text = typeof answer === 'string' ? answer : answer.bytes.toString('latin1', 9)
      return text.replace(/^r=[^,]*,/, '')
    }
    const first = await challenge('nobody')
    expect(first).toMatch(/^s=[A-Za-z0-9+/=]{24},i=4096$/)
    expect(await challenge('nobody')).toBe(first)
    expect(await challenge('somebody')).not.toBe(first)
    expect(await challenge('anna')).toMatch(/^s=[A-Za-z0-9+/=]{24},i=4096$/)
  })
})

describe('auth.rules', () => {
  it('are read in order: the first that matches user, database and address decides', async () => {
    const network = (address: string, prefixBits: number) =>
      ({ family: 'ipv4', address, prefixBits }) as const
    await start({
      users,
      authRules: [
        rule('trust', { address: network('10.0.0.0', 8) }),
        rule('reject', { database: ['ringfence'], user: ['bert'] }),
        rule('trust', { user: ['carol'], address: network('127.0.0.0', 8) }),
        rule('scram', { user: ['anna'] }),
        rule('trust', { database: ['ringfence'] }),
      ],
    })
    const admin = { database: 'ringfence' }
    expect(await loginOutcome(as('anna', ''))).toBe('28P01')
    expect(await loginOutcome(as('anna'))).toBe('in')
    expect(await loginOutcome(as('carol', ''))).toBe('in')
    expect(await loginOutcome({ ...as('bert'), ...admin })).toBe('28000')
    // No rule is for him: nobody gets in by default.
    const rejected = await refusal(connected(as('bert')))
    expect(rejected).toMatchObject({ code: '28000', severity: 'FATAL' })
    expect(rejected.message).toContain('"127.0.0.1" as user "bert"')
  })
})

describe('a startup packet', () => {
  const startup = async (parameters: readonly (readonly [string, string])[], sharded = false) => {
    await start(sharded ? { shards: 2 } : {})
    const { connection, greeting } = await rawClient(stack.proxy, { parameters })
    return { connection, greeting, error: errorFields(greeting) }
  }

  it.each([
    ['an unknown database', [['database', 'nowhere']], '3D000'],
    ['a physical replication connection', [['replication', 'true']], '28000'],
    ['a logical replication connection', [['replication', 'database']], '0A000'],
    ['a setting that does not exist', [['no_such_setting', 'x']], '42704'],
    ['a value that its setting cannot have', [['work_mem', 'banana']], '22023'],
    ['a value in options that its setting cannot have', [['options', '-c work_mem=x']], '22023'],
    ['a switch that is no setting', [['options', '-x']], '42601'],
    ['no user', [['user', '']], '28000'],
  ] as const)('with %s is refused', async (_what, parameters, sqlstate) => {
    const { error, connection } = await startup(parameters)
    expect(error).toMatchObject({ S: 'FATAL', C: sqlstate })
    expect(await connection.next(5_000)).toBe('closed')
  })

  it('may ask for an encoding, but not on a sharded database', async () => {
    const latin = await startup([['client_encoding', 'LATIN1']])
    expect(latin.error).toEqual({})
    latin.connection.destroy()
    await stack.close()
    const { error } = await startup([['client_encoding', 'LATIN1']], true)
    expect(error).toMatchObject({ S: 'FATAL', C: '0A000' })
  })

  it('sets what -c and --name say, a parameter of its own name last', async () => {
    const { connection } = await startup([
      ['options', '-c work_mem=3MB --statement-timeout=77s -cTimeZone=UTC'],
      ['TimeZone', 'Asia/Tokyo'],
    ])
    const names = ['work_mem', 'statement_timeout', 'TimeZone']
    const sql = `SELECT ${names.map((name) => `current_setting('${name}')`).join()}`
    connection.send(textBytes('Q', sql))
    expect(rowsOf(await untilReady(connection))).toEqual([['3MB', '77s', 'Asia/Tokyo']])
    connection.destroy()
  })

  it('may come after SSLRequest and GSSENCRequest, which are answered N', async () => {
    await start()
    const connection = await RawConnection.open(stack.proxy)
    const heard: Buffer[] = []
    connection.onBytes = (chunk) => void heard.push(Buffer.from(chunk))
    for (const code of [80_877_104, 80_877_103]) {
      const request = Buffer.alloc(8)
      request.writeInt32BE(8)
      request.writeInt32BE(code, 4)
      const before = Buffer.concat(heard).length
      connection.send(request)
      await until('it is answered', () => Buffer.concat(heard).length > before)
    }
    expect(Buffer.concat(heard).toString()).toBe('NN')
    connection.destroy()
    await withClient({ ...stack.proxy, ssl: false }, async (client) => {
      expect(await value(client, 'SELECT 1')).toBe('1')
    })
    const { message } = await refusal(connected({ ...stack.proxy, ssl: true }))
    expect(message).toContain('does not support SSL')
  })

  it('may come byte by byte', async () => {
    await start({ authRules: [rule('trust')] })
    const connection = await RawConnection.open(stack.proxy)
    const { user, database } = stack.proxy
    const packet = startupBytes(0, [
      ['user', user],
      ['database', database],
    ])
    await connection.sendInChunks(packet, 1)
    expect(codesOf(await untilReady(connection))).toMatch(/^RS+KZ$/)
    connection.destroy()
  })
})

describe('a connection that is nobody yet', () => {
  const soon = { limits: { loginTimeoutMs: 300 } }

  it.each([
    ['says nothing', []],
    ['sends half a startup packet', [startupBytes(0, [['user', 'anna']]).subarray(0, 9)]],
    ['never sends its password', [startupBytes(0, [['user', 'anna']])]],
  ])('and %s is closed at the login timeout', async (_what, packets) => {
    await start({ ...soon, users })
    const connection = await RawConnection.open(stack.proxy)
    for (const packet of packets) connection.send(packet)
    const answer = await untilClosed(connection)
    expect(errorFields(answer)).toMatchObject({ S: 'FATAL', C: '08006' })
    expect(errorFields(answer)['M']).toContain('300 ms')
  })

  it('and sends a byte now and then is closed at the login timeout all the same', async () => {
    await start(soon)
    const connection = await RawConnection.open(stack.proxy)
    const beginning = Buffer.alloc(8, 0)
    beginning.writeInt32BE(1_000)
    const dripping = connection.sendInChunks(beginning, 8)
    const drip = setInterval(() => connection.send(Buffer.of(0)), 20)
    await dripping
    const answer = await untilClosed(connection)
    clearInterval(drip)
    expect(errorFields(answer)).toMatchObject({ S: 'FATAL' })
  })

  it('and speaks TLS at once is closed without a word', async () => {
    await start()
    const connection = await RawConnection.open(stack.proxy)
    connection.send(Buffer.from('16030100c8010000c40303', 'hex'))
    expect(await untilClosed(connection)).toEqual([])
  })

  it.each([
    ['a startup packet of 20 kB', 20_000],
    ['a startup packet of 2 GB', 0x7fffffff],
    ['a startup packet of no length', 0],
    ['a startup packet of negative length', -1],
  ])('and announces %s is closed without a word, as by PostgreSQL', async (_what, length) => {
    await start()
    const connection = await RawConnection.open(stack.proxy)
    const header = Buffer.alloc(8)
    header.writeInt32BE(length)
    header.writeInt32BE(196_608, 4)
    connection.send(header)
    expect(await untilClosed(connection)).toEqual([])
  })

  it('and takes its leave at once is closed without a word, as by PostgreSQL', async () => {
    await start()
    const connection = await RawConnection.open(stack.proxy)
    connection.send(frontendMessage('X', Buffer.alloc(0)))
    expect(await untilClosed(connection)).toEqual([])
  })

  it.each([
    ['a password of 1 MB', 'p', 1_000_000],
    ['a query', 'Q', 20],
    ['a message of impossible length', 'p', 3],
  ])('and sends %s is refused', async (_what, code, length) => {
    await start({ users })
    const connection = await RawConnection.open(stack.proxy)
    connection.send(startupBytes(0, [['user', 'anna']]))
    expect(await connection.next(5_000)).toMatchObject({ code: 'R' })
    const message = frontendMessage(code, Buffer.alloc(16))
    message.writeInt32BE(length, 1)
    connection.send(message)
    expect(errorFields(await untilClosed(connection))).toMatchObject({ S: 'FATAL', C: '08P01' })
  })
})

describe('a client that is in', () => {
  it('and announces a message over limits.frame_bytes is closed; others go on', async () => {
    await start({ limits: { frameBytesMax: 100_000 } })
    await withClient(stack.proxy, async (other) => {
      const { connection } = await rawClient(stack.proxy)
      const header = frontendMessage('Q', Buffer.alloc(0))
      header.writeInt32BE(100_001, 1)
      connection.send(header)
      expect(errorFields(await untilClosed(connection))).toMatchObject({ S: 'FATAL', C: '08P01' })
      const text = 'x'.repeat(90_000)
      expect(await value(other, `SELECT length('${text}')`)).toBe('90000')
    })
  })

  it('among many that log in at once needs no server of its own for it', async () => {
    await start({ pool: { size: 1, waitersMax: 2 } })
    await withClients(stack.proxy, 30, async (clients) => {
      expect(clients).toHaveLength(30)
      expect(stack.poolStats()).toMatchObject({ leased: 0 })
    })
  })
})
