// A configuration file that is right: defaults, units, URLs, YAML's own abbreviations.
import { describe, expect, it } from 'vitest'
import { configOf, oneShard, shard, users } from './files.ts'

const noTls = { cert: null, key: null, ca: null, protocols: 'secure', ciphers: null }

describe('a file that is right', () => {
  it('needs a database alone; everything else has a default', () => {
    const config = configOf(
      'databases: { app: { shards: [{ id: s1, primary: "postgres://h/d" }] } }',
    )
    expect(config).toEqual({
      listen: {
        hosts: ['127.0.0.1'],
        port: 6432,
        backlog: 4096,
        keepAliveMs: 60_000,
        unixSocket: null,
      },
      tls: {
        client: { ...noTls, mode: 'disable' },
        server: { ...noTls, mode: 'prefer', channelBinding: 'prefer' },
      },
      http: { host: '127.0.0.1', port: 9632 },
      workers: 1,
      pidFile: null,
      watch: false,
      drainTimeoutMs: 3_600_000,
      users: [],
      authRules: [
        { type: 'all', database: null, user: null, address: null, method: 'scram', map: null },
      ],
      auth: {
        hbaFile: null,
        file: null,
        userMap: [],
        query: null,
        failures: { max: 10, windowMs: 60_000, delayMs: 100, delayMsMax: 5_000 },
      },
      userPools: new Map(),
      sharedLimits: {
        clientConnectionsMax: 0,
        serverConnectionsPerUserMax: 0,
        clientConnectionsPerUserMax: 0,
        autoDatabasesMax: 1_000,
        autoDatabaseIdleMs: 3_600_000,
      },
      zone: null,
      redis: null,
      tokenKey: null,
      databases: [
        {
          name: 'app',
          aliases: [],
          pool: {
            mode: 'transaction',
            sizeMax: 20,
            sizeMin: 0,
            reserve: 0,
            reserveTimeoutMs: 5_000,
            clientConnectionsMax: 1000,
            serverConnectionsMax: 0,
            queryWaitTimeoutMs: 120_000,
            queryWaitNotifyMs: 5_000,
            queueTargetMs: null,
            inFlightPerKeyMax: 0,
            serverLifetimeMs: 3_600_000,
            serverIdleTimeoutMs: 600_000,
            serverConnectTimeoutMs: 5_000,
            serverLoginRetryMs: 15_000,
            roundRobin: false,
            resetQuery: 'DISCARD ALL',
            queryTimeoutMs: 0,
            transactionTimeoutMs: 0,
            idleTransactionTimeoutMs: 0,
            clientIdleTimeoutMs: 0,
            cancelWaitTimeoutMs: 10_000,
            addsHost: false,
            replicationConnectionsMax: 5,
            fastLane: true,
            autoPrepare: false,
            pin: 'allow',
          },
          serverSettings: new Map(),
          connectQuery: null,
          serverUser: null,
          moverUser: null,
          shards: [
            {
              id: 's1',
              primary: {
                host: 'h',
                port: 5432,
                database: 'd',
                user: null,
                password: null,
                tlsMode: null,
              },
              replicas: [],
              patroniUrls: [],
              weight: 1,
              zone: null,
            },
          ],
          sharding: null,
          reads: {
            target: 'auto',
            consistency: 'session',
            maxLagMs: 1_000,
            rywWaitMs: 50,
            includePrimary: false,
            functions: { allow: [], deny: [] },
          },
          failover: { waitMs: 10_000, probeMs: 1_000 },
          rebalance: {
            measure: true,
            auto: false,
            start: 1.25,
            stop: 1.1,
            lastingMs: 600_000,
            intervalMs: 30_000,
            loadMin: 100,
            bytesMax: 10 * 1024 ** 3,
            budgetMs: 86_400_000,
            window: null,
          },
          readOnlyAlias: null,
        },
      ],
      limits: {
        frameBytesMax: 256 * 1024 ** 2,
        frameBytesBeforeLoginMax: 16_384,
        loginTimeoutMs: 30_000,
        loginsMax: 10_000,
        queueMax: 10_000,
      },
      log: { level: 'info' },
      observation: {
        slowStatementMs: null,
        logsConnections: false,
        logsDisconnections: false,
        logsErrors: true,
        statsPeriodMs: 60_000,
        trace: null,
      },
      consoleUsers: { admins: [], stats: [] },
    })
  })

  it('gives sharding with its tables, rules with networks, URLs taken apart', () => {
    const config = configOf(`
auth:
  rules:
    - { address: 10.0.0.0/8, user: app, method: trust }
    - { database: app, address: "::1", method: reject }
users: [{ name: app, password: "0", admin: true }]
databases:
  app:
    server_user: { name: root }
    shards:
      - id: s1
        primary: postgresql://root:p%40ss@[::1]:5433/a%20b?sslmode=disable
        replicas: [postgres://10.0.0.2/a%20b]
        weight: 1.5
      - { id: s2, primary: postgres://10.0.0.3/app }
    sharding:
      key: tenant_id
      key_type: uuid
      vnodes: 16
      tables: { tenants: { key: id }, products: { placement: reference } }
      cross_shard_writes: refuse`)
    expect(config.authRules).toMatchObject([
      {
        database: null,
        user: ['app'],
        address: { family: 'ipv4', address: '10.0.0.0', prefixBits: 8 },
        method: 'trust',
      },
      {
        database: ['app'],
        user: null,
        address: { family: 'ipv6', address: '::1', prefixBits: 128 },
        method: 'reject',
      },
    ])
    const [database] = config.databases
    expect(database?.serverUser).toEqual({ name: 'root', password: null })
    expect(database?.shards[0]).toEqual({
      id: 's1',
      primary: {
        host: '::1',
        port: 5433,
        database: 'a b',
        user: 'root',
        password: 'p@ss',
        tlsMode: 'disable',
      },
      replicas: [
        {
          address: {
            host: '10.0.0.2',
            port: 5432,
            database: 'a b',
            user: null,
            password: null,
            tlsMode: null,
          },
          zone: null,
          weight: 1,
        },
      ],
      patroniUrls: [],
      weight: 1.5,
      zone: null,
    })
    expect(database?.sharding).toEqual({
      key: 'tenant_id',
      keyType: 'uuid',
      vnodeCount: 16,
      tables: new Map([
        ['tenants', { key: 'id' }],
        ['products', { placement: 'reference' }],
      ]),
      scatterMode: 'allow',
      crossShardWrites: 'refuse',
    })
  })

  it('gives replicas with zone and weight, reads, failover, Redis, the tokens’ key', () => {
    const key = '0123456789abcdef0123456789abcdef'
    const config = configOf(
      `zone: a
redis: { url: "rediss://:pw@cache:6380/1", ttl: 10m, timeout: 20ms }
session_tokens: { key: "\${TOKEN_KEY}" }
${users}
databases:
  app:
    shards:
      - id: s1
        primary: postgres://10.0.0.1/app
        replicas:
          - postgres://10.0.0.2/app
          - { url: postgres://10.0.0.3/app, zone: b, weight: "2" }
        zone: a
        patroni: [http://10.0.0.1:8008/, "https://10.0.0.2:8008"]
    reads:
      target: replica
      consistency: eventual
      max_lag: null
      ryw_wait: 0
      include_primary: true
      functions: { allow: [Now_In_UTC, app.next_number], deny: [größe] }
    failover: { wait: 0, probe: 200ms }
    rebalance: { measure: false, auto: true, max_bytes: 1GiB, window: 22:30-05:00 }
    mover_user: { name: mover, password: secret }
    read_only_alias: app_ro`,
      { TOKEN_KEY: key },
    )
    expect(config).toMatchObject({
      zone: 'a',
      redis: { url: 'rediss://:pw@cache:6380/1', ttlMs: 600_000, timeoutMs: 20 },
      tokenKey: key,
    })
    const [database] = config.databases
    const [s1] = database?.shards ?? []
    expect(s1).toMatchObject({
      zone: 'a',
      patroniUrls: ['http://10.0.0.1:8008', 'https://10.0.0.2:8008'],
    })
    expect(s1?.replicas.map(({ address, ...rest }) => ({ host: address.host, ...rest }))).toEqual([
      { host: '10.0.0.2', zone: null, weight: 1 },
      { host: '10.0.0.3', zone: 'b', weight: 2 },
    ])
    expect(database).toMatchObject({
      reads: {
        target: 'replica',
        consistency: 'eventual',
        maxLagMs: null,
        rywWaitMs: 0,
        includePrimary: true,
        functions: { allow: ['now_in_utc', 'app.next_number'], deny: ['größe'] },
      },
      failover: { waitMs: 0, probeMs: 200 },
      rebalance: {
        measure: false,
        auto: true,
        bytesMax: 1024 ** 3,
        window: { startMinute: 1350, endMinute: 300 },
      },
      moverUser: { name: 'mover', password: 'secret' },
      readOnlyAlias: 'app_ro',
    })
  })

  it.each([
    'redis://127.0.0.1',
    'redis://user:pass@[::1]:6379/3',
    'rediss://cache.example:6380',
    'redis+sentinel://:pw@10.0.0.1:26379,10.0.0.2:26379/mymaster/2',
    'redis+cluster://10.0.0.1:6379,10.0.0.2:6379,10.0.0.3:6379',
  ])('takes the Redis URL %s as it stands', (url) => {
    const config = configOf(
      `session_tokens: { key: ${'k'.repeat(32)} }\nredis: { url: "${url}" }\n${oneShard}`,
    )
    expect(config.redis?.url).toBe(url)
  })

  it('takes anchors, aliases and merge keys', () => {
    const config = configOf(`${users}
databases:
  one: &one { shards: [${shard}], pool: { size: 3, pin: refuse } }
  two:
    <<: *one
    pool: { size: 4 }`)
    expect(config.databases.map(({ pool }) => [pool.sizeMax, pool.pin])).toEqual([
      [3, 'refuse'],
      [4, 'allow'],
    ])
  })

  it.each([
    ['50ms', 50],
    ['120s', 120_000],
    ['10m', 600_000],
    ['1h', 3_600_000],
    ['2d', 172_800_000],
    ['0', 0],
  ])('reads the duration %s as %i ms', (written, ms) => {
    const text = `${oneShard}\n    pool: { server_idle_timeout: ${written} }`
    expect(configOf(text).databases[0]?.pool.serverIdleTimeoutMs).toBe(ms)
  })

  it.each([
    ['65536B', 65_536],
    ['64kB', 65_536],
    ['64KiB', 65_536],
    ['256MiB', 268_435_456],
    ['1GB', 1_073_741_824],
  ])('reads the size %s as %i bytes', (written, bytes) => {
    const text = `${oneShard}\nlimits: { frame_bytes: ${written} }`
    expect(configOf(text).limits.frameBytesMax).toBe(bytes)
  })
})
