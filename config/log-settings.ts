// What is logged, and over which time statistics are averaged.
import { z } from 'zod'
import { choice, duration, flag, orNull } from './kinds.ts'
import { setting } from './setting.ts'

export const logSettings = z
  .strictObject({
    level: setting(choice('trace', 'debug', 'info', 'warn', 'error', 'silent'), {
      standard: 'info',
      applies: 'reload',
      meaning: 'Least severe message that is logged.',
    }),
    slow_statement: setting(orNull(duration({ minMs: 0 })), {
      standard: null,
      applies: 'reload',
      meaning:
        'Statements that take as long or longer are logged, without their literals and parameters; ' +
        'null: none.',
    }),
    connections: setting(flag(), {
      standard: false,
      applies: 'reload',
      meaning: 'Whether logins are logged (PgBouncer’s `log_connections`).',
    }),
    disconnections: setting(flag(), {
      standard: false,
      applies: 'reload',
      meaning: 'Whether the ends of connections are logged (PgBouncer’s `log_disconnections`).',
    }),
    pooler_errors: setting(flag(), {
      standard: true,
      applies: 'reload',
      meaning:
        'Whether FATAL errors with which the proxy itself ends a client are logged (PgBouncer’s ' +
        '`log_pooler_errors`).',
    }),
    stats_period: setting(duration({ minMs: 1000 }), {
      standard: '60s',
      applies: 'reload',
      meaning: 'Time over which `SHOW STATS` averages.',
    }),
  })
  .describe('What is logged, to stderr.')
