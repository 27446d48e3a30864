// Settings of users and logins: what they come to, and what cannot be meant that way.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { loadConfig } from '../../config/load.ts'
import { formatProblem } from '../../config/problems.ts'
import { configOf, oneShard, problemsOf, users } from './files.ts'

const noUsers = oneShard.replace(`${users}\n`, '')
const rule = (text: string) => `auth: { rules: [{ ${text} }] }\n${oneShard}`

describe('auth', () => {
  it('takes lists of names, keywords, and networks of this machine', () => {
    const text = rule(
      'type: hostssl, database: [app, sameuser, replication], user: [app, other], ' +
        'address: samenet, method: md5',
    )
    expect(configOf(text).authRules).toMatchObject([
      {
        type: 'hostssl',
        database: ['app', { special: 'sameuser' }, { special: 'replication' }],
        user: ['app', 'other'],
        address: { family: 'samenet' },
        method: 'md5',
      },
    ])
    expect(
      configOf(rule('database: [app, all], user: [all], method: md5')).authRules,
    ).toMatchObject([{ database: null, user: null }])
    expect(configOf(rule('database: [all, replication], method: reject')).authRules).toMatchObject([
      { database: [{ special: 'all' }, { special: 'replication' }] },
    ])
  })

  it('reads a lookup with its defaults, and paths as relative to the file', () => {
    const text = `auth: { query: { user: asker }, file: lists/users.txt, hba_file: /etc/hba }\n${noUsers}`
    const loaded = loadConfig(text, { file: '/etc/ringfence/f.yaml', env: {} })
    expect(loaded.ok && loaded.config.auth).toMatchObject({
      file: '/etc/ringfence/lists/users.txt',
      hbaFile: '/etc/hba',
      query: {
        user: 'asker',
        password: null,
        sql: 'SELECT usename, passwd, valuntil FROM pg_catalog.pg_shadow WHERE usename = $1',
        database: null,
        cacheMs: 1_000,
        timeoutMs: 5_000,
        connectionsMax: 2,
      },
    })
    expect(loaded.ok && loaded.warnings).toEqual([])
  })

  it.each([
    ['auth.rules: hba_file gives the rules', `auth: { hba_file: x, rules: [{ method: md5 }] }`],
    ['there is no database "nowhere"', 'auth: { query: { user: a, database: nowhere } }'],
    ['auth.failures.delay: is longer than delay_max', 'auth: { failures: { delay: 1m } }'],
    [
      'a Unix socket has no address',
      'auth: { rules: [{ type: local, address: ::1, method: md5 }] }',
    ],
    ['database "app" has no server_user', 'auth: { rules: [{ method: any }] }'],
    ['not supported yet', 'auth: { rules: [{ method: peer }] }'],
    ['names nobody', 'auth: { rules: [{ user: [], method: md5 }] }'],
    ['is not a name', 'auth: { rules: [{ user: [1], method: md5 }] }'],
    ['"10.0.0.0/40" is not a network', 'auth: { rules: [{ address: 10.0.0.0/40, method: md5 }] }'],
  ])('is refused: %s', (expected, line) => {
    expect(problemsOf(`${line}\n${oneShard}`).join('\n')).toContain(expected)
  })

  it.each([
    ['no user "nobody" is listed', rule('user: nobody, method: md5')],
    ['there is no database "nowhere"', rule('database: nowhere, method: md5')],
    ['no users are listed', noUsers],
  ])('is warned of: %s', (expected, text) => {
    const loaded = loadConfig(text, { file: 'f.yaml', env: {} })
    expect(loaded.ok && loaded.warnings.map(formatProblem).join()).toContain(expected)
  })

  it('knows every name of a database in rules: keywords and aliases too', () => {
    const names = '[app, shop, ringfence, sameuser, replication]'
    const text = `${rule(`database: ${names}, method: md5`)}\n    aliases: [shop]`
    const loaded = loadConfig(text, { file: 'f.yaml', env: {} })
    expect(loaded.ok && loaded.warnings).toEqual([])
  })

  it('takes method any where every database has a login of its own', () => {
    const text = `auth: { rules: [{ method: any }] }\n${noUsers}\n    server_user: { name: app }`
    expect(problemsOf(text)).toEqual([])
  })

  it('takes verifiers without server_user: what clients prove logs in to servers', () => {
    const verifier = `md5${'0'.repeat(32)}`
    expect(problemsOf(oneShard.replace('password: secret', `verifier: ${verifier}`))).toEqual([])
  })

  it('needs some password of its own to look at replicas', () => {
    const replicated = oneShard
      .replace('password: secret', `verifier: md5${'0'.repeat(32)}`)
      .replace('/app" }', '/app", replicas: ["postgres://10.0.0.2/app"] }')
    expect(problemsOf(replicated).join()).toContain('the proxy itself cannot look at the replicas')
    const query = 'auth: { query: { user: asker, password: asks } }'
    expect(problemsOf(`${query}\n${replicated}`)).toEqual([])
  })
})

describe('a password in a file of its own', () => {
  const dir = mkdtempSync(join(tmpdir(), 'secrets-'))
  afterAll(() => rmSync(dir, { recursive: true }))
  const load = (name: string, more = '') => {
    const text = oneShard.replace('password: secret', `password_file: ${name}${more}`)
    return loadConfig(text, { file: join(dir, 'ringfence.yaml'), env: {} })
  }
  const problems = (...args: Parameters<typeof load>) => {
    const loaded = load(...args)
    return loaded.ok ? [] : loaded.problems.map(({ path, message }) => `${path}: ${message}`)
  }
  const verifier = `SCRAM-SHA-256$4096:c2FsdHNhbHQ=$${'A'.repeat(43)}=:${'B'.repeat(43)}=`

  it.each([
    ['pencil\n', { kind: 'password', password: 'pencil' }],
    ['pencil\r\n', { kind: 'password', password: 'pencil' }],
    [' with blanks ', { kind: 'password', password: ' with blanks ' }],
    [`${verifier}\n`, { kind: 'verifier', verifier }],
  ])('%j is taken', (content, secret) => {
    writeFileSync(join(dir, 'secret'), content)
    const loaded = load('secret')
    expect(loaded.ok && loaded.config.users[0]?.secret).toEqual(secret)
  })

  it.each([
    ['', 'holds no password'],
    ['\n', 'holds no password'],
    ['4711\n4712\n', 'holds more than one line'],
  ])('%j is refused and not repeated', (content, message) => {
    writeFileSync(join(dir, 'secret'), content)
    expect(problems('secret')).toEqual([`users[0].password_file: ${message}`])
    expect(problems('secret').join()).not.toContain('4711')
  })

  it('that is not there is told with its name', () => {
    expect(problems('nowhere').join()).toMatch(
      /^users\[0\]\.password_file: cannot be read: .*nowhere/,
    )
  })

  it('beside another password is refused', () => {
    expect(problems('secret', ', password: x')).toEqual([
      'users[0].password_file: user "app" has both a password and a password_file',
    ])
  })
})
