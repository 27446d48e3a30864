// TLS towards clients: who may and who must use it, what may come before it and inside it.
import { createHash, X509Certificate } from 'node:crypto'
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, inject, it } from 'vitest'
import { certificate, certificateFile } from '../support/certificates.ts'
import { connected, pause, present, refusal, until, value, withClient } from '../support/clients.ts'
import { startupBytes } from '../support/frontend-bytes.ts'
import { type Stack, type StackOptions, startStack } from '../support/stack.ts'
import {
  answer,
  clientTls,
  gssRequest,
  opened,
  secured,
  sslRequest,
  trusting,
  untilEnd,
} from '../support/tls-client.ts'

const servers = present(inject('servers')[0])

let stack: Stack
afterEach(() => stack.close())

async function start(
  change: Parameters<typeof clientTls>[0],
  options: Partial<StackOptions> = {},
): Promise<Stack> {
  stack = await startStack(servers, { shards: 1, tls: clientTls(change), ...options })
  return stack
}

const anna = {
  name: 'anna',
  secret: { kind: 'password', password: 'pencil' },
  admin: false,
} as const
const noFailures = { max: 0, windowMs: 1, delayMs: 1, delayMsMax: 1 }

/** `in`, or the SQLSTATE and message of the refusal. */
async function outcome(
  ssl: false | ReturnType<typeof trusting>,
  user = stack.proxy.user,
  password = user === stack.proxy.user ? stack.proxy.password : 'pencil',
): Promise<string> {
  const place = { ...stack.proxy, user, password, ssl }
  const login = withClient(place, (client) => value(client, 'SELECT 7'))
  const refused = await refusal(login.then(() => Promise.reject(new Error('in'))))
  return refused.code === undefined ? refused.message : `${refused.code} ${refused.message}`
}

const noTls = 'The server does not support SSL connections'
const demand = /^28000 connection from "127.0.0.1" as user .* must use TLS/
const noCertificate = '28000 connection requires a valid client certificate'

describe('mode', () => {
  it.each([
    { mode: 'disable', plain: 'in', tls: noTls, anna: noTls, stranger: noTls },
    { mode: 'allow', plain: 'in', tls: 'in', anna: 'in', stranger: 'in' },
    { mode: 'prefer', plain: 'in', tls: 'in', anna: 'in', stranger: 'in' },
    { mode: 'require', plain: demand, tls: 'in', anna: 'in', stranger: 'in' },
    {
      mode: 'verify-ca',
      plain: demand,
      tls: noCertificate,
      anna: 'in',
      stranger: noCertificate,
    },
    {
      mode: 'verify-full',
      plain: demand,
      tls: noCertificate,
      // The user is the superuser, whom her certificate does not name.
      anna: /^28000 certificate authentication failed for user "/,
      stranger: noCertificate,
    },
  ] as const)('$mode', async ({ mode, plain, tls, anna, stranger }) => {
    await start({ mode })
    expect(await outcome(false)).toMatch(plain)
    expect(await outcome(trusting())).toMatch(tls)
    expect(await outcome(trusting('client-anna'))).toMatch(anna)
    expect(await outcome(trusting('stranger-anna'))).toMatch(stranger)
  })

  it('require takes whoever comes through the Unix socket', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'ringfence-tls-'))
    await start({ mode: 'require' }, { listen: { unixSocket: { dir, mode: 0o700 } } })
    const place = { ...stack.proxy, host: dir }
    expect(await withClient(place, (client) => value(client, 'SELECT 7'))).toBe('7')
    const socket = connect({ path: join(dir, `.s.PGSQL.${stack.proxy.port}`) })
    socket.write(sslRequest)
    expect(String(await answer(socket))).toBe('N')
    socket.destroy()
    await rm(dir, { recursive: true })
  })

  it('verify-full lets a certificate in that names the user, by its common name or another one', async () => {
    const users = [anna]
    await start({ mode: 'verify-full' }, { users })
    expect(await outcome(trusting('client-anna'), 'anna')).toBe('in')
    expect(await outcome(trusting('client-alternative'), 'anna')).toBe('in')
    expect(await outcome(trusting('client-mapped'), 'anna')).toMatch(/^28000 certificate/)
  })
})

describe('method cert', () => {
  const rule = { database: null, user: null, address: null, method: 'cert' } as const

  it('takes the certificate for the password', async () => {
    await start({ mode: 'allow' }, { users: [anna], authRules: [rule] })
    expect(await outcome(trusting('client-anna'), 'anna', 'wrong')).toBe('in')
    expect(await outcome(trusting('stranger-anna'), 'anna')).toBe(noCertificate)
    expect(await outcome(trusting(), 'anna')).toBe(noCertificate)
    expect(await outcome(false, 'anna')).toBe(noCertificate)
    expect(await outcome(trusting('client-mapped'), 'anna')).toMatch(/^28000 certificate auth/)
  })

  it('goes by the map of the rule alone, where it has one', async () => {
    const userMap = [
      { map: 'services', certificate: '/^(\\w+)\\.service$', user: '\\1' },
      { map: 'services', certificate: 'CN=somebody,O=Ringfence', user: 'anna' },
      { map: 'others', certificate: 'anna', user: 'anna' },
    ]
    const auth = { hbaFile: null, file: null, query: null, failures: noFailures, userMap }
    const users = [anna, { ...anna, name: 'bert' }]
    const authRules = [{ ...rule, map: 'services' }]
    await start({ mode: 'require' }, { users, authRules, auth })
    expect(await outcome(trusting('client-mapped'), 'bert')).toBe('in')
    expect(await outcome(trusting('client-mapped'), 'anna')).toMatch(/^28000 certificate auth/)
    expect(await outcome(trusting('client-anna'), 'anna')).toMatch(/^28000 certificate auth/)
  })
})

describe('a client', () => {
  it('that sends more than an SSLRequest before the handshake is not listened to', async () => {
    await start({ mode: 'allow' })
    const startup = startupBytes(0, [['user', 'nobody']])
    const socket = await opened(stack.proxy)
    socket.write(Buffer.concat([sslRequest, startup]))
    const told = (await untilEnd(socket)).toString('latin1')
    expect(told.charAt(0)).toBe('E')
    expect(told).toContain('C08P01\0')
    expect(told).toContain('received unencrypted data after SSL request')
    expect(told).toContain('evidence of an attempted man-in-the-middle attack')
  })

  it.each([
    { name: 'SSL', request: sslRequest, code: '1234.5679' },
    { name: 'GSSAPI encryption', request: gssRequest, code: '1234.5680' },
  ])('that was refused $name may not smuggle, nor ask again', async ({ name, request, code }) => {
    await start({ mode: 'disable' })
    const startup = startupBytes(0, [['user', 'nobody']])
    const smuggler = await opened(stack.proxy)
    smuggler.write(Buffer.concat([request, startup]))
    const told = (await untilEnd(smuggler)).toString('latin1')
    expect(told.slice(0, 2)).toBe('NE')
    expect(told).toContain(`received unencrypted data after ${name} request`)
    const insistent = await opened(stack.proxy)
    insistent.write(request)
    expect(String(await answer(insistent))).toBe('N')
    insistent.write(request)
    expect(String(await untilEnd(insistent))).toContain(`unsupported frontend protocol ${code}`)
  })

  it('may ask for TLS when it was refused GSSAPI encryption', async () => {
    await start({ mode: 'require' })
    const socket = await opened(stack.proxy)
    socket.write(gssRequest)
    expect(String(await answer(socket))).toBe('N')
    socket.write(sslRequest)
    expect(String(await answer(socket))).toBe('S')
    const inside = await secured(socket, trusting())
    inside.write(sslRequest)
    expect(String(await untilEnd(inside))).toContain('unsupported frontend protocol 1234.5679')
  })

  it('may begin with TLS at once, if it says that it means PostgreSQL', async () => {
    await start({ mode: 'require' })
    const alpn = { ...trusting(), ALPNProtocols: ['postgresql'] }
    const direct = await secured(await opened(stack.proxy), alpn)
    direct.write(startupBytes(0, [['user', stack.proxy.user]]))
    expect((await answer(direct)).toString('latin1').charAt(0)).toBe('R')
    direct.destroy()
    const silent = await secured(await opened(stack.proxy), trusting())
    expect(await untilEnd(silent)).toEqual(Buffer.alloc(0))
    const other = { ...trusting(), ALPNProtocols: ['http/1.1'] }
    await expect(secured(await opened(stack.proxy), other)).rejects.toThrow(/alert|ALPN|closed/i)
    await stack.close()
    await start({ mode: 'disable' })
    await expect(secured(await opened(stack.proxy), alpn)).rejects.toThrow(
      /closed|disconnected|ECONN/,
    )
  })

  it('is tied to the certificate that it was shown when it can be (SCRAM-SHA-256-PLUS)', async () => {
    await start({ mode: 'require' })
    const place = { ...stack.proxy, ssl: trusting(), enableChannelBinding: true }
    expect(await withClient(place, (client) => value(client, 'SELECT 7'))).toBe('7')
  })

  it('can cancel inside TLS', async () => {
    await start({ mode: 'require' })
    const client = await connected({ ...stack.proxy, ssl: trusting() })
    const key: unknown = Reflect.get(client, 'secretKey')
    const pid: unknown = Reflect.get(client, 'processID')
    const sleep = refusal(client.query('SELECT pg_sleep(20)'))
    await until('it sleeps', () => stack.poolStats().leased === 1)
    const socket = await opened(stack.proxy)
    socket.write(sslRequest)
    await answer(socket)
    const inside = await secured(socket, trusting())
    const request = Buffer.alloc(16)
    request.writeInt32BE(16, 0)
    request.writeInt32BE(80_877_102, 4)
    request.writeInt32BE(Number(pid), 8)
    request.writeInt32BE(Number(key), 12)
    inside.write(request)
    await untilEnd(inside)
    expect((await sleep).code).toBe('57014')
    await client.end()
  })

  it('that does not go on with its handshake is cut', async () => {
    await start({ mode: 'require' }, { limits: { loginTimeoutMs: 300 } })
    const socket = await opened(stack.proxy)
    socket.write(sslRequest)
    expect(String(await answer(socket))).toBe('S')
    const drip = setInterval(() => socket.write(Buffer.from([0x16])), 50)
    expect(await untilEnd(socket)).toEqual(Buffer.alloc(0))
    clearInterval(drip)
  })

  it('that reads slowly slows the server down, and gets all of a large result', async () => {
    await start({ mode: 'require' })
    const rows = 40_000
    const client = await connected({ ...stack.proxy, ssl: trusting() })
    const stream: unknown = Reflect.get(Reflect.get(client, 'connection') ?? {}, 'stream')
    if (!(stream instanceof Socket)) throw new Error('no socket')
    const sql = `SELECT repeat(md5(i::text), 32) AS filler FROM generate_series(1, ${rows}) i`
    const result = client.query<{ filler: string }>(sql)
    stream.pause()
    const before = process.memoryUsage().rss
    await pause(700)
    expect(process.memoryUsage().rss - before).toBeLessThan(32 * 1024 * 1024)
    stream.resume()
    const filler = (await result).rows.map((row) => row.filler)
    expect(filler).toHaveLength(rows)
    const expected = createHash('md5').update('40000').digest('hex').repeat(32)
    expect(filler.at(-1)).toBe(expected)
    await client.end()
  })
})

describe('a new certificate', () => {
  it('is shown after a reload, and a wrong one is refused and the old one kept', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'ringfence-tls-'))
    const [cert, key] = [join(dir, 'server.crt'), join(dir, 'server.key')]
    const install = async (name: 'server' | 'renewed-server') => {
      await copyFile(certificateFile(`${name}.crt`), cert)
      await copyFile(certificateFile(`${name}.key`), key)
    }
    const shown = async () => {
      const socket = await opened(stack.proxy)
      socket.write(sslRequest)
      await answer(socket)
      const inside = await secured(socket, trusting())
      const { fingerprint256 } = inside.getPeerCertificate()
      inside.destroy()
      return fingerprint256
    }
    const printOf = (name: 'server' | 'renewed-server') =>
      new X509Certificate(certificate(name).cert).fingerprint256
    await install('server')
    await start({ mode: 'require', cert, key })
    const before = await connected({ ...stack.proxy, ssl: trusting() })
    expect(await shown()).toBe(printOf('server'))
    await install('renewed-server')
    await stack.instance.lookAtCertificates()
    expect(await shown()).toBe(printOf('renewed-server'))
    await writeFile(cert, 'no certificate')
    await stack.instance.lookAtCertificates()
    expect(await shown()).toBe(printOf('renewed-server'))
    expect(await value(before, 'SELECT 7')).toBe('7')
    await before.end()
    await rm(dir, { recursive: true })
  })

  it('that cannot be read keeps a proxy from starting, and says so', async () => {
    await start({ mode: 'disable' })
    const wrong = startStack(servers, {
      shards: 1,
      tls: clientTls({ mode: 'require', key: certificateFile('elsewhere.key') }),
    })
    await expect(wrong).rejects.toThrow(
      /TLS towards clients cannot be set up: .*key values mismatch/,
    )
    const missing = startStack(servers, {
      shards: 1,
      tls: clientTls({ mode: 'require', cert: '/nowhere.crt' }),
    })
    await expect(missing).rejects.toThrow(/tls\.client\.cert cannot be read: ENOENT/)
  })
})
