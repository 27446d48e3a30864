// Every setting of ringfence.yaml, declared once. docs/configuration.md is generated from here.
// A setting with `later` takes only the values that this version really behaves as.
import { z } from 'zod'
import { auth, user } from './auth-settings.ts'
import { databaseSettings } from './database-settings.ts'
import { duration, integer, orNull, pgName, secret, size, text } from './kinds.ts'
import { listenSettings } from './listen-settings.ts'
import { sharedLimits, userSettings } from './pool-settings.ts'
import { processSettings } from './process-settings.ts'
import { redisUrl } from './service-url.ts'
import { setting } from './setting.ts'
import { tlsSettings } from './tls-settings.ts'
import { logSettings } from './log-settings.ts'
import { traceSettings } from './trace-settings.ts'

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
    logins: setting(integer(1, 1_000_000), {
      standard: 10_000,
      applies: 'reload',
      meaning:
        'Clients that may be logging in at once; a further one takes the place of the oldest ' +
        'if that has had a second, else it is refused (53300).',
    }),
    queue: setting(integer(1, 1_000_000), {
      standard: 10_000,
      applies: 'restart',
      meaning: 'Statements that may wait for a server connection, per pool (53300 beyond it).',
    }),
    ...sharedLimits,
  })
  .describe('Bounds that protect the proxy from hostile or broken clients.')

/** The whole file. */
export const fileSchema = z.strictObject({
  listen: listenSettings.prefault({}),
  http: http.prefault({}),
  ...processSettings,
  tls: tlsSettings.prefault({}),
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
  log: logSettings.prefault({}),
  trace: traceSettings.prefault({}),
})

/** The file's settings as they stand in it, units already resolved, defaults filled in. */
export type FileSettings = z.output<typeof fileSchema>
