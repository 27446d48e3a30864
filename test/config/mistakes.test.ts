// Every mistake in a configuration file: all of them at once, each with its place and what to do.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { loadConfig } from '../../config/load.ts'
import { formatProblem } from '../../config/problems.ts'
import { oneShard, problemsOf, shard, twoShards, users } from './files.ts'

describe('mistakes', () => {
  it('are reported all at once, in the order of the file, each at its place', () => {
    const text = `listen: { prot: 6432 }
users:
  - { name: app, password: \${APP_PASSWORD} }
  - { name: app, verifier: SCRAM-SHA-256 }
databases:
  app:
    pool:
      size: many
      sise: 20
      query_wait_timeout: 120
    shards:
      - { id: s1, primary: http://10.0.0.1/app }
      - { id: s1, primary: postgres://10.0.0.2/app }
    sharding:
      vnodes: 1000
      key_type: bigserial`
    expect(problemsOf(text)).toEqual([
      'f.yaml:1:11  listen.prot: unknown setting "prot"; did you mean "port"?',
      'f.yaml:3:28  users[0].password: environment variable "APP_PASSWORD" is not set; ' +
        'set it, or give a default: ${APP_PASSWORD:-…}',
      'f.yaml:4:13  users[1].name: user "app" is listed twice; keep one',
      'f.yaml:4:28  users[1].verifier: is not a SCRAM-SHA-256 or md5 verifier; ' +
        'copy it in full from pg_authid.rolpassword, in quotes',
      'f.yaml:8:13  databases.app.pool.size: expected a number; found "many"',
      'f.yaml:9:7  databases.app.pool.sise: unknown setting "sise"; did you mean "size"?',
      'f.yaml:10:27  databases.app.pool.query_wait_timeout: "120" is not a duration; ' +
        'add a unit: 120s or 120ms',
      'f.yaml:12:28  databases.app.shards[0].primary: is not a postgres:// URL; ' +
        'write it like postgres://10.0.0.1:5432/app',
      'f.yaml:13:15  databases.app.shards[1].id: shard id "s1" is given twice; ' +
        'give every shard an id of its own',
      'f.yaml:14:5  databases.app.sharding.key: is missing; add it',
      'f.yaml:15:15  databases.app.sharding.vnodes: 1000 is not a power of two; write 1024',
      'f.yaml:16:17  databases.app.sharding.key_type: expected one of bigint, text, uuid; ' +
        'found "bigserial"',
    ])
  })

  it('never repeat a password', () => {
    const text = `users: [{ name: app, password: 4711, verifier: "4711" }]
databases:
  app:
    server_user: { name: app, password: [4711] }
    shards: [{ id: s1, primary: "postgres://app:4711@h/app?x=1" }, { id: s2, primary: "app:4711" }]`
    expect(problemsOf(text)).toHaveLength(6)
    expect(problemsOf(text).join()).not.toContain('4711')
  })

  it.each([
    ['a: [1', 'f.yaml:1:6  not valid YAML: '],
    ['a: *nowhere', 'f.yaml:1:1  not valid YAML: unresolved alias'],
    ['- 1', 'f.yaml:1:1  expected a mapping; found a list'],
    ['', 'f.yaml:1:1  databases: is missing'],
    ['databases: {}', 'f.yaml:1:1  databases: names no database'],
    ['databases: 5', 'f.yaml:1:12  databases: expected a mapping; found a number'],
    ['databases: { app: { shards: [] } }', 'f.yaml:1:21  databases.app.shards: needs at least one'],
    ['databases:\n', 'f.yaml:1:1  databases: expected a mapping; found nothing'],
  ])('of the file as a whole are understood: %j', (text, expected) => {
    expect(problemsOf(text)[0]).toContain(expected)
  })

  it('report a name that is given twice, together with other mistakes', () => {
    const found = problemsOf(`${oneShard}\nlog: { level: info }\nlog: { level: loud }`)
    expect(found).toEqual([
      expect.stringContaining('f.yaml:6:1  this name is given twice in one mapping'),
      expect.stringContaining('f.yaml:6:15  log.level: expected one of trace, debug'),
    ])
  })

  it('end with problems, not with an exception, for any text', () => {
    const pieces = fc.constantFrom(...'&*<<:[]{}-?|>!%@`"\'#,\n\t \uE000\uE001\uE002'.split(''))
    const lines = fc.constantFrom(
      'databases:',
      ' app:',
      '  shards:',
      'users: [',
      '${',
      '<<: *a',
      '&a',
    )
    fc.assert(
      fc.property(fc.array(fc.oneof(pieces, lines), { maxLength: 30 }), (parts) => {
        expect(problemsOf(parts.join(''))).not.toEqual([])
      }),
      { numRuns: 2000 },
    )
  })
})

describe('contradictions', () => {
  const sharding = (rest: string) => `${twoShards}\n    sharding: { key: k, ${rest} }`
  const stored = `md5${'0'.repeat(32)}`
  it.each([
    ['users[0]: user "a" has neither', `users: [{ name: a }]\n${oneShard.replace(users, '')}`],
    ['has both a password and', oneShard.replace('secret', `x, verifier: ${stored}`)],
    ['f.yaml:1:9  auth.rules: is empty', `auth: { rules: [] }\n${oneShard}`],
    ['f.yaml:5:5  databases.app.shards: 2 shards, but no "sharding"', twoShards],
    ['server 10.0.0.1:5432/app is listed twice', twoShards.replace('10.0.0.2', '10.0.0.1')],
    ['user "x" in the URL differs from', twoShards.replace('10.0.0.2', 'x@10.0.0.2')],
    ['no server_user, so the proxy itself cannot', `${oneShard}\n    sharding: { key: k }`],
    ['"ringfence" is reserved for the admin', oneShard.replace('app:', 'ringfence:')],
    ['"*" cannot be sharded', twoShards.replace(' app:', ' "*":')],
    ['"*" has no aliases', `${oneShard.replace(' app:', ' "*":')}\n    aliases: [other]`],
    ['"ringfence" is reserved', `${oneShard}\n    aliases: [ringfence]`],
    ['"app" is also a name of database "app"', `${oneShard}\n    aliases: [app]`],
    [
      'in session mode a client has one server',
      `${oneShard}\n    pool: { mode: session }\n    reads: { target: replica }`,
    ],
    ['6 is more than pool.size, which is 5', `${oneShard}\n    pool: { size: 5, min: 6 }`],
    ['7 is more than pool.size, which is 5', `${oneShard}\n    pool: { size: 5, min: 7 }`],
    ['4095 is not a power of two; write 4096', sharding('vnodes: 4095')],
    ['vnodes: must be at most 65536', sharding('vnodes: 131072')],
    ['"t" has both a key and a placement', sharding('tables: { t: { key: a, placement: home } }')],
    ['"t" has neither a key nor a placement', sharding('tables: { t: {} }')],
    ['"a.t" is also listed as "t"', sharding('tables: { a.t: { key: k }, t: { key: l } }')],
    [
      'a replica has its primary\'s database "app"',
      oneShard.replace('/app"', '/app", replicas: ["postgres://10.0.0.2/other"]'),
    ],
    [
      'replicas[0].url: server 10.0.0.1:5432/app is listed twice',
      oneShard.replace('/app"', '/app", replicas: [{ url: "postgres://10.0.0.1/app" }]'),
    ],
    [
      'there are none of shard "s1"; add "replicas", or choose target: auto',
      `${oneShard}\n    reads: { target: replica }`,
    ],
    [
      '"ro" is served by replicas only, but there are none of shard "s1", "s2"',
      `${twoShards}\n    read_only_alias: ro`,
    ],
    [
      'function "f" is both allowed and denied',
      `${oneShard}\n    reads: { functions: { allow: [g, F], deny: [f] } }`,
    ],
    ['"app" is the name of a database', `${oneShard}\n    read_only_alias: app`],
    ['"ringfence" is reserved for the admin', `${oneShard}\n    read_only_alias: ringfence`],
    [
      'f.yaml:7:22  databases.other.read_only_alias: "ro" is also the alias of database "app"',
      `${oneShard}\n    read_only_alias: ro\n  other:\n    read_only_alias: ro\n    shards: [${shard}]`,
    ],
    [
      'tls.client.cert: is missing: mode require shows clients a certificate; name a PEM file',
      `tls: { client: { mode: require, key: k.pem } }\n${oneShard}`,
    ],
    [
      'tls.client.ca: is missing: mode verify-ca checks clients’ certificates by it',
      `tls: { client: { mode: verify-ca, cert: c.pem, key: k.pem } }\n${oneShard}`,
    ],
    [
      'tls.client.mode: is disable, but a rule wants client certificates; allow TLS',
      `auth: { rules: [{ method: cert }] }\n${oneShard}`,
    ],
    [
      'tls.server.key: is missing: a certificate is of no use without its key',
      `tls: { server: { cert: c.pem } }\n${oneShard}`,
    ],
    [
      'auth.user_map[0].certificate: is not a regular expression',
      `auth: { user_map: [{ map: m, certificate: "/(", user: a }] }\n${oneShard}`,
    ],
    ['listen.host: names no address', `listen: { host: "127.0.0.1," }\n${oneShard}`],
    ['"rw" is not a file mode', `listen: { unix_socket_mode: rw }\n${oneShard}`],
  ])('are reported: %s', (expected, text) => {
    expect(problemsOf(text).join('\n')).toContain(expected)
  })

  it.each([
    ['postgres://10.0.0.1', 'the URL names no database'],
    ['postgres:///app', 'the URL names no host'],
    ['postgres://h/app?sslmode=on', 'sslmode=on is no mode of TLS'],
    ['postgres://h/app?sslmode=verify-full', 'tls.server.ca: is missing'],
    ['postgres://h/app?aplication_name=x', 'unknown parameter "aplication_name" in the URL'],
    ['postgres://h:99999/app', 'is not a postgres:// URL'],
    ['postgres://a%zz@h/app', 'bad %-escape in the URL'],
    ['mysql://h/app', 'is not a postgres:// URL'],
  ])('refuses the URL %s', (url, expected) => {
    expect(problemsOf(oneShard.replace('postgres://10.0.0.1/app', url)).join()).toContain(expected)
  })

  it.each([
    ['reads: { target: replicas }', 'did you mean "replica"?'],
    ['reads: { ryw_wait: 50 }', 'add a unit: 50s or 50ms'],
    ['reads: { functions: { allow: f } }', 'is not a list of functions; write it like [now_in'],
    ['reads: { functions: { deny: ["f()"] } }', '"f()" is not the name of a function'],
    ['reads: { functions: { deny: [1] } }', '"1" is not the name of a function'],
    ['failover: { probe: 0 }', 'must be at least 10ms, found 0'],
    ['read_only_alias: ""', 'must not be empty'],
  ])('are refused in a database: %s', (line, expected) => {
    const found = problemsOf(`${oneShard}\n    ${line}`)
    expect(found).toEqual([expect.stringContaining(expected)])
    expect(found[0]).toMatch(/^f\.yaml:5:/)
  })

  it.each([
    ['redis: { url: "http://u:pw@h" }', 'is not a redis:// URL; write it like redis://10.0.0.1'],
    ['redis: { url: "redis://u:pw@h:6379,h2" }', 'names several hosts'],
    ['redis: { url: "redis://u:pw@pw@h" }', 'is not a redis:// URL'],
    ['redis: { url: "redis://u:pw%@h" }', 'bad %-escape in the URL'],
    ['redis: { url: "redis://u:pw@h/db" }', 'ends in something that is no database number'],
    ['redis: { url: "redis+sentinel://u:pw@h:1" }', 'does not name the master'],
    ['redis: { url: "redis+cluster://u:pw@h:1:2" }', 'names a host that is none'],
    ['session_tokens: { key: pw-too-short }', 'is shorter than 32 characters; make one with'],
  ])('are refused without repeating a secret: %s', (line, expected) => {
    const found = problemsOf(`${line}\n${oneShard}`)
    expect(found).toEqual([expect.stringContaining(expected)])
    expect(found.join()).not.toContain('pw')
  })

  it.each([
    ['"ftp://10.0.0.2/app"', 'replicas[0].url: is not a postgres:// URL'],
    ['{ uri: "postgres://10.0.0.2/app" }', 'replicas[0].url: is missing'],
    ['{ zone: b }', 'replicas[0].url: is missing'],
    ['5', 'replicas[0]: expected a mapping; found a number'],
  ])('in a replica %s are found together with others', (replica, expected) => {
    const text = `${oneShard.replace('/app"', `/app", replicas: [${replica}]`)}
    read_only_alias: app`
    const found = problemsOf(text)
    expect(found[0]).toMatch(/^f\.yaml:4:/)
    expect(found[0]).toContain(expected)
    expect(found.at(-1)).toContain('"app" is the name of a database')
  })

  it.each([
    ['http://10.0.0.1:8008/?a=b', 'has more than host, port and path'],
    ['10.0.0.1:8008', 'is not an http:// URL; write it like http://10.0.0.1:8008'],
  ])('refuses %s as the address of Patroni', (url, expected) => {
    const text = oneShard.replace('/app"', `/app", patroni: ["${url}"]`)
    expect(problemsOf(text)).toEqual([expect.stringContaining(expected)])
  })

  it('warn of tokens that only one proxy takes where Redis is shared by several', () => {
    const text = `redis: { url: "redis://h" }\n${oneShard}`
    const loaded = loadConfig(text, { file: 'f.yaml', env: {} })
    expect(loaded.ok && loaded.warnings.map(formatProblem)).toEqual([
      expect.stringMatching(
        /^f\.yaml:1:15 {2}redis\.url: no session_tokens\.key: .*, the same for/,
      ),
    ])
  })

  it('know the alias of a database in rules', () => {
    const replicated = oneShard.replace('/app"', '/app", replicas: ["postgres://10.0.0.2/app"]')
    const text = `auth: { rules: [{ database: ro, method: scram }] }\n${replicated}`
    const loaded = loadConfig(`${text}\n    read_only_alias: ro`, { file: 'f.yaml', env: {} })
    expect(loaded.ok && loaded.warnings).toEqual([])
  })

  it('warn about what can never happen, without refusing the file', () => {
    const text = `auth: { rules: [{ user: bob, method: scram }] }\n${oneShard}`
    const loaded = loadConfig(text, { file: 'f.yaml', env: {} })
    expect(loaded.ok && loaded.warnings.map(formatProblem)).toEqual([
      'f.yaml:1:25  auth.rules[0].user: no user "bob" is listed, so this rule never matches; ' +
        'list the user',
    ])
  })
})
