// Every setting of ringfence.yaml, declared once. docs/configuration.md is generated from here.
// A setting with `later` takes only the values that this version really behaves as.
import { z } from 'zod'
import { databaseSettings } from './database-settings.ts'
import {
  choice,
  duration,
  flag,
  integer,
  network,
  orNull,
  pgName,
  secret,
  size,
  text,
  verifier,
} from './kinds.ts'
import { sharedLimits, userSettings } from './pool-settings.ts'
import { processSettings } from './process-settings.ts'
import { redisUrl } from './service-url.ts'
import { required, setting, type Later } from './setting.ts'

/** A setting that has no meaning yet may only be left out. */
const unset = (because: string): Later => ({ works: [null], because })

const listen = z
  .strictObject({
    host: setting(text('address or host name'), {
      standard: '127.0.0.1',
      applies: 'restart',
      meaning: 'Address on which clients are accepted; `0.0.0.0` or `::` for all interfaces.',
    }),
    port: setting(integer(0, 65_535), {
      standard: 6432,
      applies: 'restart',
      meaning: 'TCP port on which clients are accepted; 0 takes any free port.',
    }),
    unix_socket_dir: setting(orNull(text('directory')), {
      standard: null,
      applies: 'restart',
      meaning: 'Directory of a Unix socket for clients.',
      later: unset('this version listens on TCP only'),
    }),
  })
  .describe('Where clients connect.')

const http = z
  .strictObject({
    host: setting(text('address or host name'), {
      standard: '127.0.0.1',
      applies: 'restart',
      meaning: 'Address of the HTTP port.',
    }),
    port: setting(integer(0, 65_535), {
      standard: 9632,
      applies: 'restart',
      meaning: 'Port of `/metrics`, `/livez` and `/readyz`; 0 takes any free port.',
    }),
  })
  .describe('Metrics and health over HTTP.')

const noTls: Later = {
  works: ['disable'],
  because: 'this version speaks no TLS and answers N to an SSLRequest',
}
const tlsModes = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const

function tlsFile(meaning: string) {
  const later = unset('this version speaks no TLS')
  return setting(orNull(text('file')), { standard: null, applies: 'reload', meaning, later })
}

function tlsMode(meaning: string) {
  const kind = choice(...tlsModes)
  return setting(kind, { standard: 'disable', applies: 'reload', meaning, later: noTls })
}

const tls = z
  .strictObject({
    client: z
      .strictObject({
        mode: tlsMode('Whether clients may or must use TLS.'),
        cert: tlsFile('Certificate shown to clients, PEM.'),
        key: tlsFile('Private key of that certificate, PEM.'),
        ca: tlsFile('Authorities whose client certificates are trusted, PEM.'),
      })
      .prefault({}),
    server: z
      .strictObject({
        mode: tlsMode('Whether servers are asked for TLS.'),
        ca: tlsFile('Authorities that may sign the servers’ certificates, PEM.'),
      })
      .prefault({}),
  })
  .describe('Encryption of connections.')

const user = z
  .strictObject({
    name: required(pgName(), {
      example: 'app',
      applies: 'reload',
      meaning: 'Name with which the client logs in.',
    }),
    password: setting(orNull(text()), {
      standard: null,
      applies: 'reload',
      meaning: 'Password in plain text, best taken from `${ENV}`. Exactly one of the two is given.',
    }),
    verifier: setting(orNull(verifier()), {
      standard: null,
      applies: 'reload',
      meaning: 'Stored password as in `pg_authid.rolpassword`. Needs `server_user`.',
    }),
    admin: setting(flag(), {
      standard: false,
      applies: 'reload',
      meaning: 'May connect to the admin console, the database `ringfence`.',
    }),
  })
  .describe('Who may log in.')

const rule = z
  .strictObject({
    database: setting(text('`all`, name'), {
      standard: 'all',
      applies: 'reload',
      meaning: 'Database that the client asks for.',
    }),
    user: setting(text('`all`, name'), {
      standard: 'all',
      applies: 'reload',
      meaning: 'User name that the client gives.',
    }),
    address: setting(network(), {
      standard: 'all',
      applies: 'reload',
      meaning: 'Network from which the client comes.',
    }),
    method: required(choice('trust', 'scram', 'md5', 'cert', 'reject'), {
      example: 'scram',
      applies: 'reload',
      meaning: 'How the client proves who it is.',
      later: {
        works: ['trust', 'scram', 'md5', 'reject'],
        because: 'client certificates need TLS, which this version does not speak',
      },
    }),
  })
  .describe('First match wins; no match is a refusal. Without rules: `scram` for everybody.')

const query = z.strictObject({ user: pgName().schema, sql: text().schema })

const auth = z
  .strictObject({
    rules: z.array(rule).optional(),
    query: setting(orNull({ schema: query, values: '`{ user, sql }`' }), {
      standard: null,
      applies: 'reload',
      meaning: 'Statement that looks up users who are not listed under `users`.',
      later: unset('this version knows only the users listed under "users"'),
    }),
  })
  .describe('How clients prove who they are.')

const redis = z
  .strictObject({
    url: setting(orNull(redisUrl()), {
      standard: null,
      applies: 'restart',
      meaning:
        'Redis that keeps what a session id has written and seen, for all proxies; null: session ' +
        'ids are refused. Also `rediss://…` (TLS), `redis+sentinel://host:port,…/master[/db]`, ' +
        '`redis+cluster://host:port,…`.',
    }),
    ttl: setting(duration({ minMs: 1000 }), {
      standard: '1h',
      applies: 'restart',
      meaning: 'How long a session id is remembered; once forgotten it reads on the primary.',
    }),
    timeout: setting(duration({ minMs: 1 }), {
      standard: '100ms',
      applies: 'restart',
      meaning: 'Longest wait for an answer of Redis; a read that gets none goes to the primary.',
    }),
  })
  .describe('Where session ids live: read-your-writes then follows a user over all proxies.')

const sessionTokens = z
  .strictObject({
    key: setting(orNull(secret(32)), {
      standard: null,
      applies: 'restart',
      meaning:
        'Secret that session tokens are signed with, the same on all proxies, best taken from ' +
        '`${ENV}`. Null: a random one, so that a token is good only at the proxy that gave it, ' +
        'until that proxy stops.',
    }),
  })
  .describe(
    'What `SHOW ringfence.session_token` gives away and `SET ringfence.session_token` takes.',
  )

const limits = z
  .strictObject({
    frame_bytes: setting(size(65_536, 2 ** 30), {
      standard: '256MiB',
      applies: 'restart',
      meaning: 'Longest message a client may send after login (08P01 beyond it).',
    }),
    frame_bytes_before_login: setting(size(1024, 2 ** 20), {
      standard: '16KiB',
      applies: 'restart',
      meaning: 'Longest message a client may send before it is logged in.',
    }),
    login_timeout: setting(duration({ minMs: 100 }), {
      standard: '30s',
      applies: 'restart',
      meaning: 'Time a client has from connecting to the end of its login.',
    }),
    queue: setting(integer(1, 1_000_000), {
      standard: 10_000,
      applies: 'restart',
      meaning: 'Statements that may wait for a server connection, per pool (53300 beyond it).',
    }),
    ...sharedLimits,
  })
  .describe('Bounds that protect the proxy from hostile or broken clients.')

const log = z
  .strictObject({
    level: setting(choice('trace', 'debug', 'info', 'warn', 'error', 'silent'), {
      standard: 'info',
      applies: 'reload',
      meaning: 'Least severe message that is logged.',
    }),
    slow_statement: setting(orNull(duration({ minMs: 0 })), {
      standard: null,
      applies: 'reload',
      meaning: 'Statements that take longer are logged, without their parameters.',
      later: unset('this version does not log slow statements'),
    }),
  })
  .describe('What is logged, to stderr.')

/** The whole file. */
export const fileSchema = z.strictObject({
  listen: listen.prefault({}),
  http: http.prefault({}),
  ...processSettings,
  tls: tls.prefault({}),
  users: z.array(user).prefault([]),
  auth: auth.prefault({}),
  user_settings: z.record(pgName().schema, userSettings).prefault({}),
  zone: setting(orNull(text('name')), {
    standard: null,
    applies: 'restart',
    meaning: 'Zone that this proxy runs in: its reads prefer servers of the same `zone`.',
  }),
  redis: redis.prefault({}),
  session_tokens: sessionTokens.prefault({}),
  databases: z
    .record(z.string(), databaseSettings)
    .describe(
      'The name clients connect to; `"*"` serves any other name from one server. `ringfence` is ' +
        'reserved for the admin console.',
    ),
  limits: limits.prefault({}),
  log: log.prefault({}),
})

/** The file's settings as they stand in it, units already resolved, defaults filled in. */
export type FileSettings = z.output<typeof fileSchema>
