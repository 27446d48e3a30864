// Settings of pools, in PgBouncer's names: of a database (`pool`), of one user over all databases (`user_settings`),
// and of the proxy as a whole (a part of `limits`). docs/pgbouncer.md has the whole mapping.
import { z } from 'zod'
import { choice, duration, flag, integer, orNull, text } from './kinds.ts'
import { setting } from './setting.ts'

const modes = ['session', 'transaction', 'statement'] as const
const count = (meaning: string, standard = 0) =>
  setting(integer(0, 1_000_000), { standard, applies: 'restart', meaning })
const wait = (standard: string | 0, meaning: string) =>
  setting(duration({ minMs: 0 }), { standard, applies: 'restart', meaning })

/** The section `pool` of a database. */
export const poolSettings = z
  .strictObject({
    mode: setting(choice(...modes), {
      standard: 'transaction',
      applies: 'restart',
      meaning:
        'When a server connection goes back to the pool: when the client leaves, at the end of a ' +
        'transaction, or after every statement, which leaves no room for transaction blocks.',
    }),
    size: setting(integer(1, 10_000), {
      standard: 20,
      applies: 'reload',
      meaning: 'Server connections per shard, role (primary or replica) and user.',
    }),
    min: setting(integer(0, 10_000), {
      standard: 0,
      applies: 'reload',
      meaning:
        'Server connections that a pool keeps open: with `server_user` always, else for ' +
        '`server_idle_timeout` after the last statement.',
    }),
    reserve: setting(integer(0, 10_000), {
      standard: 0,
      applies: 'reload',
      meaning: 'Further connections while a statement has waited for `reserve_timeout`.',
    }),
    reserve_timeout: setting(duration({ minMs: 1 }), {
      standard: '5s',
      applies: 'reload',
      meaning: 'How long a statement waits before the reserve is opened for it.',
    }),
    max_client_conn: setting(integer(1, 1_000_000), {
      standard: 1000,
      applies: 'reload',
      meaning: 'Client connections to this database (53300 beyond it).',
    }),
    max_db_connections: count(
      'Server connections of all users together, per shard and role; 0: no limit.',
    ),
    query_wait_timeout: setting(duration({ minMs: 0 }), {
      standard: '120s',
      applies: 'reload',
      meaning: 'How long a statement waits for a server connection (53300 after it).',
    }),
    query_wait_notify: wait('5s', 'After how much waiting the client is told so by a NOTICE.'),
    queue_target: setting(orNull(duration({ minMs: 1 })), {
      standard: null,
      applies: 'reload',
      meaning:
        'Once statements have waited longer than this for a while, more of users who wait ' +
        'already are refused (53300), so that the wait of the others stays short.',
    }),
    max_in_flight_per_key: count(
      'Statements of one shard key value that run at once; more of them wait. 0: no limit.',
    ),
    server_lifetime: setting(duration({ minMs: 1000 }), {
      standard: '1h',
      applies: 'reload',
      meaning: 'Age at which a server connection is closed once it is free, give or take 10 %.',
    }),
    server_idle_timeout: setting(duration({ minMs: 0 }), {
      standard: '10m',
      applies: 'reload',
      meaning: 'How long an unused server connection is kept.',
    }),
    server_connect_timeout: setting(duration({ minMs: 1 }), {
      standard: '5s',
      applies: 'restart',
      meaning: 'Time from dialling a server to the end of the login there.',
    }),
    server_login_retry: setting(duration({ minMs: 1 }), {
      standard: '15s',
      applies: 'reload',
      meaning: 'Longest pause after a refused login; the first is 500 ms, each is twice the last.',
    }),
    server_round_robin: setting(flag(), {
      standard: false,
      applies: 'reload',
      meaning: 'Lend the connection that was idle longest, not the one used last.',
    }),
    server_reset_query: setting(text('SQL'), {
      standard: 'DISCARD ALL',
      applies: 'restart',
      meaning: 'What cleans a server connection after a client in session mode.',
    }),
    query_timeout: wait(0, 'How long a statement may run: then it is cancelled.'),
    transaction_timeout: wait(0, 'How long a transaction may last: then its client is closed.'),
    idle_transaction_timeout: setting(duration({ minMs: 0 }), {
      standard: 0,
      applies: 'restart',
      meaning: 'How long a client may leave a transaction open without a statement.',
    }),
    client_idle_timeout: wait(0, 'How long a client outside a transaction may be silent.'),
    cancel_wait_timeout: setting(duration({ minMs: 1 }), {
      standard: '10s',
      applies: 'restart',
      meaning: 'How long a cancel request may take to reach a server.',
    }),
    application_name_add_host: setting(flag(), {
      standard: false,
      applies: 'restart',
      meaning: 'Add the client’s address and port to the application_name that it begins with.',
    }),
    replication_connections: setting(integer(0, 10_000), {
      standard: 5,
      applies: 'restart',
      meaning: 'Replication connections that are passed through, in session mode alone.',
    }),
    fast_lane: setting(choice('auto', 'off'), {
      standard: 'auto',
      applies: 'reload',
      meaning:
        'Whether short reads of several clients may be in flight on one server connection at a ' +
        'time, each a transaction of its own.',
    }),
    auto_prepare: setting(choice('on', 'off'), {
      standard: 'off',
      applies: 'reload',
      meaning:
        'Whether simple queries run as prepared statements where only constants differ: PostgreSQL then ' +
        'plans them once, and shows `$1` in place of constants in its own views and logs.',
    }),
    pin: setting(choice('allow', 'refuse'), {
      standard: 'allow',
      applies: 'reload',
      meaning: 'Session state that needs a server of its own: keep the server, or refuse (0A000).',
    }),
  })
  .describe('Server connections, in PgBouncer’s terms: see [PgBouncer’s settings](pgbouncer.md).')

const own = <S extends z.ZodType>(kind: { schema: S; values: string }, meaning: string) =>
  setting(orNull(kind), { standard: null, applies: 'restart', meaning })

/** One entry of `user_settings`. */
export const userSettings = z
  .strictObject({
    pool_mode: own(choice(...modes), 'Instead of the `pool.mode` of databases.'),
    pool_size: own(integer(1, 10_000), 'Instead of `pool.size`, where servers know the user.'),
    reserve_pool_size: own(integer(0, 10_000), 'Instead of `pool.reserve`.'),
    max_user_connections: own(integer(0, 1_000_000), 'Instead of `limits.max_user_connections`.'),
    max_user_client_connections: own(
      integer(0, 1_000_000),
      'Instead of `limits.max_user_client_connections`.',
    ),
    query_timeout: own(duration({ minMs: 0 }), 'Instead of `pool.query_timeout`.'),
    query_wait_timeout: own(duration({ minMs: 0 }), 'Instead of `pool.query_wait_timeout`.'),
    transaction_timeout: own(duration({ minMs: 0 }), 'Instead of `pool.transaction_timeout`.'),
    idle_transaction_timeout: own(
      duration({ minMs: 0 }),
      'Instead of `pool.idle_transaction_timeout`.',
    ),
    client_idle_timeout: own(duration({ minMs: 0 }), 'Instead of `pool.client_idle_timeout`.'),
  })
  .describe('By user name, listed under `users` or not: what differs from the databases’ `pool`.')

/** Of the section `limits`: what concerns all databases. */
export const sharedLimits = {
  max_client_conn: count('Client connections to all databases together; 0: no limit.'),
  max_user_connections: count(
    'Server connections of one user over all databases; of a sharded one, per shard. 0: no limit.',
  ),
  max_user_client_connections: count(
    'Client connections of one user over all databases; 0: no limit.',
  ),
  auto_databases: setting(integer(1, 100_000), {
    standard: 1_000,
    applies: 'restart',
    meaning: 'Databases that the entry `*` serves at once (53300 beyond it).',
  }),
  autodb_idle_timeout: setting(duration({ minMs: 1 }), {
    standard: '1h',
    applies: 'restart',
    meaning: 'How long a database of the entry `*` is kept without clients.',
  }),
}
