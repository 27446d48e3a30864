// Settings of who may log in and how: users, auth. Part of config/settings.ts.
import { z } from 'zod'
import {
  choice,
  duration,
  flag,
  integer,
  names,
  network,
  orNull,
  pgName,
  text,
  verifier,
  nameList,
} from './kinds.ts'
import { required, setting } from './setting.ts'

/** One user of the file. */
export const user = z
  .strictObject({
    name: required(pgName(), {
      example: 'app',
      applies: 'reload',
      meaning: 'Name with which the client logs in.',
    }),
    password: setting(orNull(text()), {
      standard: null,
      applies: 'reload',
      meaning:
        'Password in plain text, best taken from `${ENV}`. One of `password`, `password_file` and ' +
        '`verifier` is given.',
    }),
    password_file: setting(orNull(text('file')), {
      standard: null,
      applies: 'reload',
      meaning:
        'File with the password or the verifier as its only line; relative to this file. Read at ' +
        'the start and at a reload.',
    }),
    verifier: setting(orNull(verifier()), {
      standard: null,
      applies: 'reload',
      meaning:
        'Stored password as in `pg_authid.rolpassword`. Servers that store the same one are ' +
        'logged in to with what the client proves, see docs/authentication.md.',
    }),
    admin: setting(flag(), {
      standard: false,
      applies: 'reload',
      meaning: 'May connect to the admin console, the database `ringfence`.',
    }),
    stats: setting(flag(), {
      standard: false,
      applies: 'reload',
      meaning: 'May look at statistics there: `SHOW` and nothing else.',
    }),
  })
  .describe('Who may log in.')

const rule = z
  .strictObject({
    type: setting(choice('all', 'local', 'host', 'hostssl', 'hostnossl'), {
      standard: 'all',
      applies: 'reload',
      meaning: 'Connections it is for, as in `pg_hba.conf`: Unix socket, TCP, with TLS, without.',
    }),
    database: setting(names('`all`, `sameuser`, `replication`, name, list'), {
      standard: 'all',
      applies: 'reload',
      meaning:
        'Databases that the client asks for; `sameuser` is the one of the user’s own name, ' +
        '`replication` a connection for physical replication, which `all` does not match.',
    }),
    user: setting(names('`all`, name, list'), {
      standard: 'all',
      applies: 'reload',
      meaning: 'User names that the client gives.',
    }),
    address: setting(network(), {
      standard: 'all',
      applies: 'reload',
      meaning:
        'Network from which the client comes; `samehost` is any address of this machine, ' +
        '`samenet` any network it is in. A Unix socket has no address.',
    }),
    method: required(choice('trust', 'any', 'scram', 'md5', 'plain', 'cert', 'peer', 'reject'), {
      example: 'scram',
      applies: 'reload',
      meaning:
        'How the client proves who it is. `cert`: by a certificate of `tls.client.ca`. `plain` ' +
        'asks for the password itself and is for TLS and Unix sockets; `any` takes every name, and needs `server_user`.',
      later: {
        works: ['trust', 'any', 'scram', 'md5', 'plain', 'cert', 'reject'],
        because: 'who is at the other end of a Unix socket cannot be asked',
      },
    }),
    map: setting(orNull(text('name')), {
      standard: null,
      applies: 'reload',
      meaning:
        'Map of `auth.user_map` that says whom a certificate names; null: the user of its common ' +
        'name or of one of its alternative names.',
    }),
  })
  .describe('First match wins; no match is a refusal. Without rules: `scram` for everybody.')

const mapped = z
  .strictObject({
    map: required(text('name'), {
      example: 'people',
      applies: 'reload',
      meaning: 'Map that the line belongs to; rules name it.',
    }),
    certificate: required(certificatePattern(), {
      example: '/^(.*)@example\\.org$',
      applies: 'reload',
      meaning:
        'Common name, alternative name or distinguished name of a certificate, or a regular ' +
        'expression behind a slash.',
    }),
    user: required(pgName('name, `all`'), {
      example: '\\1',
      applies: 'reload',
      meaning: 'User that it names; `\\1` is what the first parentheses have matched.',
    }),
  })
  .describe('Whom client certificates name, as in `pg_ident.conf`.')

/** Text, or a regular expression behind a slash. */
function certificatePattern() {
  const schema = z.string().check(
    z.refine((value) => value !== '' && (!value.startsWith('/') || isRegExp(value.slice(1))), {
      error: 'is not a regular expression',
    }),
  )
  return { schema, values: 'text, `/` and a regular expression' }
}

function isRegExp(source: string): boolean {
  try {
    return new RegExp(source, 'u') instanceof RegExp
  } catch {
    return false
  }
}

const query = z
  .strictObject({
    user: required(pgName(), {
      example: 'auth_user',
      applies: 'reload',
      meaning: 'Role that asks; it needs no right but to run the statement.',
    }),
    password: setting(orNull(text()), {
      standard: null,
      applies: 'reload',
      meaning: 'Its password, best taken from `${ENV}`; null: as listed under `users`, else none.',
    }),
    sql: setting(text('statement'), {
      standard: 'SELECT usename, passwd, valuntil FROM pg_catalog.pg_shadow WHERE usename = $1',
      applies: 'reload',
      meaning:
        'Gives the row of the user $1: name, stored password and, if there is a third column, ' +
        'until when it is valid. Its search_path is pg_catalog.',
    }),
    database: setting(orNull(pgName()), {
      standard: null,
      applies: 'reload',
      meaning: 'Database of this file whose home shard is asked; null: the one of the login.',
    }),
    cache: setting(duration({ minMs: 0 }), {
      standard: '1s',
      applies: 'reload',
      meaning: 'How long an answer is used again; a failed login forgets it at once.',
    }),
    timeout: setting(duration({ minMs: 1 }), {
      standard: '5s',
      applies: 'reload',
      meaning: 'Longest time for an answer, the wait for a connection included.',
    }),
    connections: setting(integer(1, 100), {
      standard: 2,
      applies: 'reload',
      meaning: 'Connections at most that are kept to ask with, per database.',
    }),
  })
  .describe('How users are looked up who are listed neither under `users` nor in `auth.file`.')

const failures = z
  .strictObject({
    max: setting(integer(0, 1_000_000), {
      standard: 10,
      applies: 'reload',
      meaning: 'Failed logins from one address until the next ones are put off; 0 puts off none.',
    }),
    window: setting(duration({ minMs: 1 }), {
      standard: '1m',
      applies: 'reload',
      meaning: 'Time without a failed login after which they are forgotten.',
    }),
    delay: setting(duration({ minMs: 1 }), {
      standard: '100ms',
      applies: 'reload',
      meaning: 'Time between two logins that are put off; doubles with every further failure.',
    }),
    delay_max: setting(duration({ minMs: 1 }), {
      standard: '5s',
      applies: 'reload',
      meaning: 'Longest such time; who would have to wait longer than that is refused at once.',
    }),
  })
  .describe('Failed logins slow down the address (of IPv6, the /64 network) that they come from.')

/** The section `auth`. */
export const auth = z
  .strictObject({
    rules: z.array(rule).optional(),
    hba_file: setting(orNull(text('file')), {
      standard: null,
      applies: 'reload',
      meaning: 'File of rules as in `pg_hba.conf`, instead of `rules`; relative to this file.',
    }),
    file: setting(orNull(text('file')), {
      standard: null,
      applies: 'reload',
      meaning:
        'PgBouncer’s `userlist.txt` with more users, read again when it changes; relative to ' +
        'this file.',
    }),
    admin_users: setting(nameList(), {
      standard: [],
      applies: 'reload',
      meaning: 'Further users of the admin console, such as those that are looked up elsewhere.',
    }),
    stats_users: setting(nameList(), {
      standard: [],
      applies: 'reload',
      meaning: 'Further users who may look at statistics there.',
    }),
    user_map: z.array(mapped).prefault([]),
    query: z.nullable(query).prefault(null),
    failures: failures.prefault({}),
  })
  .describe('How clients prove who they are.')
