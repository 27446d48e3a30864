// Logins on servers with what is known of a user: password, md5 hash, SCRAM keys, bound to the certificate or not.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../core/clock.ts'
import { dial } from '../../pool/dial.ts'
import { ask } from '../../pool/exchange.ts'
import { type LoginProof, LoginSecret } from '../../pool/login-secret.ts'
import { FlushTurn } from '../../pool/outbox.ts'
import type { ChannelBinding } from '../../pool/server-login.ts'
import { ServerTls, type ServerTlsMode } from '../../pool/server-tls.ts'
import { deriveKeys, parseVerifier } from '../../wire/scram-keys.ts'
import { present } from '../support/clients.ts'
import { serverTls } from '../support/tls-client.ts'
import { startTlsServer, type TlsServer } from '../support/tls-server.ts'
import { runOn } from '../proxy/auth-fixture.ts'
import { target } from './pools.ts'

let tls: TlsServer
let keys: LoginProof
const password: LoginProof = { kind: 'password', password: 'pencil' }
const hash: LoginProof = { kind: 'md5', hash: 'md5bd9b2f028f0da30651d603cf780feee9' } // of carol

beforeAll(async () => {
  tls = await startTlsServer()
  await tls.show('server')
  await tls.admit('host all all all scram-sha-256')
  const url = tls.server.url()
  await runOn(
    url,
    `SET password_encryption = 'scram-sha-256'; CREATE ROLE anna LOGIN PASSWORD 'pencil'`,
  )
  await runOn(url, `SET password_encryption = 'md5'; CREATE ROLE carol LOGIN PASSWORD 'pencil'`)
  const sql = `SELECT rolpassword FROM pg_authid WHERE rolname = 'anna'`
  const verifier = present(parseVerifier((await runOn(url, sql))[0] ?? ''))
  keys = { kind: 'scram', keys: deriveKeys('pencil', verifier.salt, verifier.iterations) }
})
afterAll(() => tls.stop())

/** `in`, or why not. */
async function login(
  user: string,
  proof: LoginProof | null,
  {
    mode = 'disable',
    channelBinding = 'prefer',
  }: { readonly mode?: ServerTlsMode; readonly channelBinding?: ChannelBinding } = {},
): Promise<string> {
  const { server: options } = serverTls({ mode, channelBinding })
  const secret = new LoginSecret(proof)
  try {
    const server = await dial(
      { ...target(tls.server), user, password: null, secret },
      {
        turn: new FlushTurn(),
        readBuffer: Buffer.alloc(64 * 1024),
        clock: systemClock,
        connectTimeoutMs: 5_000,
        wholeBytesMax: 1024 * 1024,
        tls: new ServerTls(options),
      },
    )
    const { rows } = await ask(server, 'SELECT session_user')
    server.close('the test is over')
    return rows[0]?.[0] === user ? 'in' : 'somebody else'
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

describe('a server that asks for', () => {
  it('SCRAM is shown a password or keys, never a hash', async () => {
    await tls.admit('host all all all scram-sha-256')
    expect(await login('anna', password)).toBe('in')
    expect(await login('anna', keys)).toBe('in')
    expect(await login('anna', hash)).toContain('another form of the password')
    expect(await login('anna', null)).toContain('asks for a password of user "anna"')
  })

  it('md5 is shown a password or its hash, never keys', async () => {
    await tls.admit('host all all all md5')
    expect(await login('carol', password)).toBe('in')
    expect(await login('carol', hash)).toBe('in')
    expect(await login('carol', keys)).toContain('another form of the password')
    // A SCRAM verifier makes it ask for SCRAM.
    expect(await login('anna', keys)).toBe('in')
  })

  it('the password itself is shown nothing else', async () => {
    await tls.admit('host all all all password')
    expect(await login('anna', password)).toBe('in')
    expect(await login('anna', keys)).toContain('another form of the password')
    expect(await login('carol', hash)).toContain('another form of the password')
  })
})

describe('channel binding', () => {
  const required = { mode: 'require', channelBinding: 'require' } as const

  it('that is required is done with passwords and with keys', async () => {
    await tls.admit('host all all all scram-sha-256')
    expect(await login('anna', password, required)).toBe('in')
    expect(await login('anna', keys, required)).toBe('in')
    for (const channelBinding of ['disable', 'prefer'] as const) {
      expect(await login('anna', keys, { mode: 'require', channelBinding })).toBe('in')
    }
  })

  it.each([
    { method: 'scram-sha-256', how: { mode: 'disable', channelBinding: 'require' }, user: 'anna' },
    { method: 'md5', how: required, user: 'carol' },
    { method: 'password', how: required, user: 'anna' },
    { method: 'trust', how: required, user: 'anna' },
  ] as const)('that is required is missed with $method', async ({ method, how, user }) => {
    await tls.admit(`host all all all ${method}`)
    expect(await login(user, password, how)).toContain('channel binding is required')
  })
})
