// TLS towards servers: what each of libpq's modes asks for, accepts and refuses; the pools' own connections and those of
// the catalog, which go the same ways.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { tlsQuery, withServer } from '../../catalog/connect-by-url.ts'
import { systemClock } from '../../core/clock.ts'
import { cancelStatement } from '../../pool/cancel.ts'
import { dial } from '../../pool/dial.ts'
import { ask } from '../../pool/exchange.ts'
import { FlushTurn } from '../../pool/outbox.ts'
import type { ServerConnection, ServerTarget } from '../../pool/server-connection.ts'
import { ServerTls, type ServerTlsMode, type ServerTlsOptions } from '../../pool/server-tls.ts'
import { certificateFile } from '../support/certificates.ts'
import { present, refusal, value, withClient } from '../support/clients.ts'
import { startStack } from '../support/stack.ts'
import { serverTls } from '../support/tls-client.ts'
import { startTlsServer, type TlsServer } from '../support/tls-server.ts'
import { target } from './pools.ts'

const withoutTls = present(inject('servers')[0])

let tls: TlsServer
beforeAll(async () => {
  tls = await startTlsServer()
})
afterAll(() => tls.stop())

const everybody = 'host all all all scram-sha-256'
beforeEach(async () => {
  await tls.show('server')
  await tls.admit(everybody)
})

const open: ServerConnection[] = []
afterEach(() => {
  for (const server of open.splice(0)) server.close('the test is over')
})

const ca = certificateFile('ca.crt')

function optionsOf(mode: ServerTlsMode, change: Partial<ServerTlsOptions> = {}): ServerTlsOptions {
  const { server } = serverTls({ mode, ...(mode.startsWith('verify') ? { ca } : {}), ...change })
  return server
}

async function dialled(to: ServerTarget, options: ServerTlsOptions): Promise<ServerConnection> {
  const server = await dial(to, {
    turn: new FlushTurn(),
    readBuffer: Buffer.alloc(64 * 1024),
    clock: systemClock,
    connectTimeoutMs: 5_000,
    wholeBytesMax: 1024 * 1024,
    tls: new ServerTls(options),
  })
  open.push(server)
  return server
}

const encryptedSql = 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()'

/** `TLS`, `plain`, or why not, for a connection of a pool. */
async function ofPool(to: ServerTarget, options: ServerTlsOptions): Promise<string> {
  try {
    const server = await dialled(to, options)
    const { rows } = await ask(server, encryptedSql)
    const encrypted = rows[0]?.[0] === 't'
    expect(server.tls !== null).toBe(encrypted)
    return encrypted ? 'TLS' : 'plain'
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** The same for a connection of the catalog. */
async function ofCatalog(to: ServerTarget, options: ServerTlsOptions): Promise<string> {
  const mode = to.tlsMode ?? options.mode
  const login = `${to.user}:${encodeURIComponent(to.password ?? '')}`
  const url = `postgres://${login}@${to.host}:${to.port}/${to.database}${tlsQuery({ ...options, mode })}`
  try {
    return await withServer(url, async (client) => {
      return (await value(client, encryptedSql)) === 't' ? 'TLS' : 'plain'
    })
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** A target on a server of this run that has no TLS. */
function plainTarget(): ServerTarget {
  const url = new URL(present(withoutTls.shards[0]).url)
  const [user, password] = [url.username, decodeURIComponent(url.password)]
  return { ...target(tls.server), port: Number(url.port), user, password }
}

const required = /server does not support SSL/

describe.each([
  { who: 'a pool', through: ofPool },
  { who: 'the catalog', through: ofCatalog },
])('$who', ({ through }) => {
  it.each([
    { mode: 'disable', withTls: 'plain', without: 'plain' },
    { mode: 'allow', withTls: 'plain', without: 'plain' },
    { mode: 'prefer', withTls: 'TLS', without: 'plain' },
    { mode: 'require', withTls: 'TLS', without: required },
    { mode: 'verify-ca', withTls: 'TLS', without: required },
    { mode: 'verify-full', withTls: 'TLS', without: required },
  ] as const)('in mode $mode', async ({ mode, withTls, without }) => {
    expect(await through(target(tls.server), optionsOf(mode))).toBe(withTls)
    const outcome = (await through(plainTarget(), optionsOf(mode))).replace('The server', 'server')
    expect(outcome).toMatch(without)
  })

  it('goes by the mode of the URL before that of tls.server', async () => {
    const to = target(tls.server, { tlsMode: 'disable' })
    expect(await through(to, optionsOf('require'))).toBe('plain')
    const strict = target(tls.server, { tlsMode: 'verify-full' })
    expect(await through(strict, optionsOf('disable', { ca }))).toBe('TLS')
  })

  it('takes the other way where the rules of the server want it', async () => {
    await tls.admit('hostssl all all all scram-sha-256')
    expect(await through(target(tls.server), optionsOf('allow'))).toBe('TLS')
    expect(await through(target(tls.server), optionsOf('disable'))).toMatch(/no encryption/)
    await tls.admit('hostnossl all all all scram-sha-256')
    expect(await through(target(tls.server), optionsOf('prefer'))).toBe('plain')
    expect(await through(target(tls.server), optionsOf('require'))).toMatch(/SSL encryption/)
  })

  it('refuses a server of another authority, or of another name, where the mode says so', async () => {
    const to = target(tls.server)
    await tls.show('stranger-server')
    expect(await through(to, optionsOf('require'))).toBe('TLS')
    for (const options of [optionsOf('require', { ca }), optionsOf('verify-ca')]) {
      expect(await through(to, options)).toMatch(/unable to verify|self.signed/)
    }
    await tls.show('elsewhere')
    expect(await through(to, optionsOf('verify-ca'))).toBe('TLS')
    const named = await through({ ...to, host: 'localhost' }, optionsOf('verify-full'))
    expect(named).toMatch(/does not match (?:host name "localhost"|certificate's altnames)/)
    expect(await through(to, optionsOf('verify-full'))).toMatch(/does not match/)
  })

  it('shows its certificate to a server that asks for one', async () => {
    await tls.admit('hostssl all all all scram-sha-256 clientcert=verify-ca')
    const [cert, key] = [certificateFile('client-anna.crt'), certificateFile('client-anna.key')]
    expect(await through(target(tls.server), optionsOf('require', { cert, key }))).toBe('TLS')
    const without = await through(target(tls.server), optionsOf('require'))
    expect(without).toMatch(/requires a valid client certificate/)
  })

  it('speaks the versions that are asked for', async () => {
    for (const protocols of ['tlsv1.2', 'tlsv1.3'] as const) {
      expect(await through(target(tls.server), optionsOf('require', { protocols }))).toBe('TLS')
    }
  })
})

describe('a connection with TLS', () => {
  it('is told in the words of libpq why the name is wrong', async () => {
    await tls.show('elsewhere')
    const wrong = dialled(target(tls.server, { host: 'localhost' }), optionsOf('verify-full'))
    await expect(wrong).rejects.toThrow(
      'server certificate for "elsewhere.example" does not match host name "localhost"',
    )
  })

  it('is cancelled through TLS', async () => {
    await tls.admit('hostssl all all all scram-sha-256')
    const server = await dialled(target(tls.server), optionsOf('verify-full'))
    const sleeping = refusal(ask(server, 'SELECT pg_sleep(20)'))
    await cancelStatement(server, 5_000)
    expect(server.cancels.size).toBe(0)
    expect((await sleeping).message).toBe('canceling statement due to user request')
  })

  it('serves a sharded database, whose catalog is reached the same way', async () => {
    await tls.admit('hostssl all all all scram-sha-256')
    const shards = [{ id: 's1', url: `${tls.server.url()}?uselibpqcompat=true&sslmode=require` }]
    const settings = serverTls({ mode: 'verify-full', ca })
    const stack = await startStack(
      { ...withoutTls, shards },
      { shards: 1, sharded: true, tls: settings, database: { serverTls: settings.server } },
    )
    const encrypted = await withClient(stack.proxy, (client) => value(client, encryptedSql))
    expect(encrypted).toBe('t')
    await stack.close()
  })
})
