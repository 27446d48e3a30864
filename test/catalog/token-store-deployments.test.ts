// The ways to run Redis: what URLs say, and where redis-server is installed, a cluster, a sentinel with a failover, TLS
// and servers that evict or refuse to write.
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import type { TokenStore, TokenStoreOptions } from '../../catalog/token-store.ts'
import { parseRedisUrl } from '../../catalog/token-store-url.ts'
import { shardId } from '../../core/ids.ts'
import { freePort } from '../../demo/ports.ts'
import { pause, until } from '../support/clients.ts'
import { command, hasRedisServer, startRedisServer, startSentinel } from './redis-servers.ts'
import { at, createStore, known, lagMs, leaseMs, trusted } from './token-fleet.ts'

const unknown = { kind: 'unknown' }
const nothing = { username: undefined, password: undefined, sentinelPassword: undefined }

describe('the URL of a Redis', () => {
  it.each([
    ['redis://h', { kind: 'single', hosts: [{ host: 'h', port: 6379 }], db: 0, encrypted: false }],
    ['rediss://h:1/3', { kind: 'single', hosts: [{ host: 'h', port: 1 }], db: 3, encrypted: true }],
    ['redis://[::1]:7/', { kind: 'single', hosts: [{ host: '::1', port: 7 }], db: 0 }],
    ['redis://:p%40w@h', { username: undefined, password: 'p@w' }],
    ['redis://me:p:w@h', { username: 'me', password: 'p:w' }],
    [
      'redis+sentinel://:pw@h:1,i/main/2?sentinel_password=s%20p',
      {
        kind: 'sentinel',
        hosts: [
          { host: 'h', port: 1 },
          { host: 'i', port: 26379 },
        ],
        master: 'main',
        db: 2,
        password: 'pw',
        sentinelPassword: 's p',
      },
    ],
    [
      'rediss+cluster://h:1,i',
      {
        ...nothing,
        kind: 'cluster',
        hosts: [
          { host: 'h', port: 1 },
          { host: 'i', port: 6379 },
        ],
        encrypted: true,
      },
    ],
  ])('%s is understood', (url, expected) => {
    expect(parseRedisUrl(url)).toMatchObject(expected)
  })

  it.each([
    ['http://h', 'malformed'],
    ['redis://', 'malformed'],
    ['redis://h,i', 'several hosts'],
    ['redis://h/x', 'not a number'],
    ['redis+sentinel://h', 'does not name the master'],
    ['redis://h:x', 'a host that is none'],
  ])('%s is refused', (url, complaint) => {
    expect(() => parseRedisUrl(url)).toThrow(complaint)
  })
})

async function withStores(
  url: string,
  more: Partial<TokenStoreOptions>,
  use: (a: TokenStore, b: TokenStore) => Promise<void>,
): Promise<void> {
  const [a, b] = [createStore(url, 'a', more), createStore(url, 'b', more)]
  try {
    await Promise.all([a.start(), b.start()])
    await use(a, b)
  } finally {
    await Promise.all([a.close(), b.close()])
  }
}

async function makeCertificate(dir: string): Promise<void> {
  const out = ['-keyout', join(dir, 'key.pem'), '-out', join(dir, 'cert.pem')]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
  const kind = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2']
  await promisify(execFile)('openssl', [...kind, ...out, ...subject])
}

describe.each(hasRedisServer() ? ['redis-server'] : [])('tokens in %s', () => {
  it('are kept in a cluster, each on its own node, and count once they are old enough', async () => {
    const port = await freePort()
    const redis = await startRedisServer(port, [
      '--cluster-enabled',
      'yes',
      '--cluster-announce-ip',
      '127.0.0.1',
    ])
    try {
      await command(port, 'CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
      await until('the cluster to be up', async () => {
        return String(await command(port, 'CLUSTER', 'INFO')).includes('cluster_state:ok')
      })
      await withStores(`redis+cluster://127.0.0.1:${port}`, {}, async (a, b) => {
        await until('both to be connected', () =>
          [a, b].every(({ state }) => state === 'connected'),
        )
        await trusted(a)
        const ids = ['u', 'v', 'w']
        expect(await a.publish(ids, at(5))).toBe('stored')
        // A node may have lost the token that this one follows.
        expect(await b.fetch(ids)).toEqual(unknown)
        expect(await known(b, ids)).toEqual(at(5))
      })
    } finally {
      await redis.kill()
    }
  })

  it('survive the failover of a sentinel as unknown, then as new', async () => {
    const [port, successorPort] = [await freePort(), await freePort()]
    const master = await startRedisServer(port, [])
    const replica = await startRedisServer(successorPort, [
      '--replicaof',
      '127.0.0.1',
      String(port),
      '--repl-diskless-sync-delay',
      '0',
    ])
    const sentinel = await startSentinel(port)
    try {
      const url = `redis+sentinel://127.0.0.1:${sentinel.port}/tokens`
      await withStores(url, {}, async (a, b) => {
        await a.publish(['u'], at(10))
        expect(await known(b, ['u'])).toEqual(at(10))
        await until('the sentinel to know the replica', async () => {
          const replicas = await command(sentinel.port, 'SENTINEL', 'REPLICAS', 'tokens')
          return JSON.stringify(replicas).includes('"master-link-status","ok"')
        })
        await master.kill()
        await until('the failover', () => a.state === 'away')
        expect(await a.fetch(['u'])).toEqual(unknown)
        await until('the successor', () => a.state === 'connected', 20_000)
        expect(await a.fetch(['u'])).toEqual(unknown)
        expect(await a.publish(['u'], at(20))).toBe('stored')
        expect(await known(b, ['u'])).toEqual(at(20))
      })
    } finally {
      await Promise.all([sentinel.kill(), replica.kill(), master.kill()])
    }
  })

  it('go over TLS, to a server whose certificate is known', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'ringfence-tls-'))
    await makeCertificate(dir)
    const [port, tlsPort] = [await freePort(), await freePort()]
    const files = ['--tls-cert-file', join(dir, 'cert.pem'), '--tls-key-file', join(dir, 'key.pem')]
    const settings = ['--tls-port', String(tlsPort), ...files, '--tls-auth-clients', 'no']
    const redis = await startRedisServer(port, settings)
    try {
      const url = `rediss://localhost:${tlsPort}`
      const ca = await readFile(join(dir, 'cert.pem'))
      await withStores(url, { tls: { ca } }, async (a, b) => {
        await a.publish(['u'], at(5))
        expect(await known(b, ['u'])).toEqual(at(5))
      })
      await withStores(url, {}, async (a) => {
        expect(a.state).toBe('away')
        expect(await a.publish(['u'], at(6))).toBe('lost')
      })
    } finally {
      await redis.kill()
      await rm(dir, { recursive: true, force: true })
    }
  })

  it('need a password where the server wants one', async () => {
    const port = await freePort()
    const redis = await startRedisServer(port, [])
    try {
      await command(port, 'CONFIG', 'SET', 'requirepass', 'pass')
      await withStores(`redis://:pass@127.0.0.1:${port}`, {}, (a) => trusted(a))
      await withStores(`redis://:wrong@127.0.0.1:${port}`, {}, async (a) => {
        expect(await a.fetch(['u'])).toEqual(unknown)
        expect(a.state).toBe('away')
      })
    } finally {
      await redis.kill()
    }
  })

  it('that may have been evicted do not count until replicas have what they may lack', async () => {
    const port = await freePort()
    const settings = ['--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru']
    const redis = await startRedisServer(port, settings)
    try {
      await withStores(`redis://127.0.0.1:${port}`, {}, async (a, b) => {
        await trusted(a)
        await a.publish(['u'], at(null, 7))
        expect(await known(b, ['u'])).toEqual(at(null, 7))
        const [token] = [await command(port, 'KEYS', '*:u')].flat()
        await command(port, 'DEL', String(token))
        const publishedAtMs = performance.now()
        await a.publish(['u'], at(5))
        expect(await known(b, ['u'])).toEqual(at(5))
        expect(performance.now() - publishedAtMs).toBeGreaterThan(lagMs)
      })
    } finally {
      await redis.kill()
    }
  })

  it('are lost while the server refuses to write, and stored when it does again', async () => {
    const port = await freePort()
    const redis = await startRedisServer(port, [])
    try {
      await withStores(`redis://127.0.0.1:${port}`, {}, async (a, b) => {
        await a.publish(['u'], at(10))
        expect(await known(b, ['u'])).toEqual(at(10))
        await command(port, 'REPLICAOF', '127.0.0.1', '1')
        expect(await a.publish(['u'], at(20))).toBe('lost')
        expect(await b.fetch(['u'])).toEqual(unknown)
        await pause(leaseMs)
        expect(await b.fetch(['u'])).toEqual(unknown)
        await command(port, 'REPLICAOF', 'NO', 'ONE')
        await until('what was lost to be stored', async () => {
          const fetched = await b.fetch(['u'])
          return fetched.kind === 'known' && fetched.positions.get(shardId('s1'))?.lsn === 20n
        })
      })
    } finally {
      await redis.kill()
    }
  })
})
