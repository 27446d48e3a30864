// The settings of one database: pool, login to the servers, shards, sharding, reads, failover.
import { z } from 'zod'
import { poolSettings } from './pool-settings.ts'
import { rebalanceSettings } from './rebalance-settings.ts'
import {
  choice,
  duration,
  flag,
  functionNames,
  integer,
  nameList,
  orNull,
  pgName,
  positive,
  shardName,
  size,
  text,
} from './kinds.ts'
import { serverUrl } from './server-url.ts'
import { httpUrl } from './service-url.ts'
import { required, setting } from './setting.ts'

const serverUser = z
  .strictObject({
    name: required(pgName(), {
      example: 'app',
      applies: 'restart',
      meaning: 'Role with which the proxy logs in to the shards.',
    }),
    password: setting(orNull(text()), {
      standard: null,
      applies: 'restart',
      meaning: 'Its password; null where the servers trust the proxy.',
    }),
  })
  .describe('Login to the shards. Without it every client’s own name and password are passed on.')

const moverUser = z
  .strictObject({
    name: required(pgName(), {
      example: 'mover',
      applies: 'reload',
      meaning: 'Role with which `ringfence rebalance` and `shard add` log in to the shards.',
    }),
    password: setting(orNull(text()), {
      standard: null,
      applies: 'reload',
      meaning: 'Its password; null where the servers trust it.',
    }),
  })
  .describe(
    'Login of the mover, which needs more rights than the proxy: a superuser, or what [operations](operations.md) lists. Without it ' +
      '`server_user` is used.',
  )

const zone = (meaning: string) =>
  setting(orNull(text('name')), { standard: null, applies: 'restart', meaning })

/** `postgres://…` alone stands for `{ url: postgres://… }`. */
const urlOrMapping = (input: unknown) => (typeof input === 'string' ? { url: input } : input)

const replica = z.preprocess(
  urlOrMapping,
  z
    .strictObject({
      url: required(serverUrl(), {
        example: 'postgres://10.0.0.2:5432/app',
        applies: 'restart',
        meaning: 'A streaming replica of that primary; it may become the primary.',
      }),
      zone: zone('Where it runs: reads prefer servers of the proxy’s own `zone`.'),
      weight: setting(positive(1000), {
        standard: 1,
        applies: 'restart',
        meaning: 'Share of the reads relative to the shard’s other servers.',
      }),
    })
    .describe('Servers that take reads and follow the primary: a URL alone, or a mapping.'),
)

const shard = z
  .strictObject({
    id: required(shardName(), {
      example: 's1',
      applies: 'restart',
      meaning: 'Name of the shard; it may never change once `ringfence init` has run.',
    }),
    primary: required(serverUrl(), {
      example: 'postgres://10.0.0.1:5432/app',
      applies: 'restart',
      meaning:
        'Its primary as a rule; which server is the primary now is found out. A user in the URL ' +
        'is used instead of `server_user`.',
    }),
    replicas: z.array(replica).prefault([]),
    patroni: z
      .array(
        required(httpUrl(), {
          example: 'http://10.0.0.1:8008',
          applies: 'restart',
          meaning:
            'REST API of a Patroni member of this shard, asked who leads; servers are asked, too.',
        }),
      )
      .prefault([]),
    weight: setting(positive(1000), {
      standard: 1,
      applies: 'restart',
      meaning: 'Share of the virtual nodes relative to the other shards.',
    }),
    zone: zone('Where the primary runs.'),
  })
  .describe('The first shard is the home shard: it also holds the catalog.')

const table = z
  .strictObject({
    key: setting(orNull(text('column')), {
      standard: null,
      applies: 'restart',
      meaning: 'Column that shards this table, when it is not `sharding.key`.',
    }),
    placement: setting(orNull(choice('reference', 'home')), {
      standard: null,
      applies: 'restart',
      meaning: '`reference`: the same rows on every shard; `home`: on the home shard alone.',
    }),
  })
  .describe('`name` or `schema.name` of a table; it gives either `key` or `placement`.')

const notGathered = {
  works: [null],
  because: 'this version streams rows and gathers none',
}

const sharding = z
  .strictObject({
    key: required(text('column'), {
      example: 'tenant_id',
      applies: 'restart',
      meaning: 'Every table that has this column is sharded by it.',
    }),
    key_type: setting(choice('bigint', 'text', 'uuid'), {
      standard: 'bigint',
      applies: 'restart',
      meaning: 'Type of the key: `bigint` for all integers, `text` also for varchar.',
    }),
    vnodes: setting(integer(2, 65_536), {
      standard: 4096,
      applies: 'restart',
      meaning: 'Number of virtual nodes, a power of two; fixed for the life of a cluster.',
    }),
    tables: z.record(z.string(), table).prefault({}),
    scatter: z
      .strictObject({
        mode: setting(choice('allow', 'refuse'), {
          standard: 'allow',
          applies: 'reload',
          meaning: 'Whether a SELECT without a key may ask all shards.',
        }),
        max_gathered_rows: setting(orNull(integer(1, 1_000_000_000)), {
          standard: null,
          applies: 'reload',
          meaning: 'Most rows that are gathered to finish one statement.',
          later: notGathered,
        }),
        max_gathered_bytes: setting(orNull(size(1024, 2 ** 40)), {
          standard: null,
          applies: 'reload',
          meaning: 'Most bytes that are gathered to finish one statement.',
          later: notGathered,
        }),
      })
      .prefault({}),
    cross_shard_writes: setting(choice('two_phase', 'best_effort', 'refuse'), {
      standard: 'two_phase',
      applies: 'reload',
      meaning: 'How DDL and reference tables are written on all shards: atomically, or not at all.',
      later: {
        works: ['two_phase', 'refuse'],
        because: 'this version writes to several shards atomically or not at all',
      },
    }),
    allow_key_update: setting(flag(), {
      standard: false,
      applies: 'reload',
      meaning: 'Whether an UPDATE may change a shard key.',
      later: { works: [false], because: 'this version cannot move a row to another shard' },
    }),
  })
  .describe('How rows are spread over the shards. Needed with more than one shard.')

const reads = z
  .strictObject({
    target: setting(choice('auto', 'primary', 'replica'), {
      standard: 'auto',
      applies: 'reload',
      meaning:
        'Where read-only statements go. `auto`: to a replica where one may serve them, else to ' +
        'the primary; `primary`: always there; `replica`: to replicas only.',
    }),
    consistency: setting(choice('session', 'eventual', 'strong'), {
      standard: 'session',
      applies: 'reload',
      meaning:
        'What a read on a replica must see. `session`: all that its session has written and ' +
        'seen; `eventual`: what any replica within `max_lag` has; `strong`: everything, so that ' +
        'only the primary serves.',
    }),
    max_lag: setting(orNull(duration({ minMs: 1 })), {
      standard: '1s',
      applies: 'reload',
      meaning: 'A replica further behind is not read from; null: no limit.',
    }),
    ryw_wait: setting(duration({ minMs: 0 }), {
      standard: '50ms',
      applies: 'reload',
      meaning: 'How long a read waits for a replica to catch up before it goes to the primary.',
    }),
    include_primary: setting(flag(), {
      standard: false,
      applies: 'reload',
      meaning:
        'Whether the primary takes a share of the reads, too, not only those that no replica can.',
    }),
    functions: z
      .strictObject({
        allow: setting(functionNames(), {
          standard: [],
          applies: 'reload',
          meaning: 'Functions that may run on a replica although PostgreSQL calls them VOLATILE.',
        }),
        deny: setting(functionNames(), {
          standard: [],
          applies: 'reload',
          meaning:
            'Functions that run on the primary although PostgreSQL calls them STABLE or IMMUTABLE.',
        }),
      })
      .prefault({}),
  })
  .describe('Reads on replicas; see [operations](operations.md#replicas).')

const failover = z
  .strictObject({
    wait: setting(duration({ minMs: 0 }), {
      standard: '10s',
      applies: 'reload',
      meaning: 'How long statements wait for a primary, from when it was lost; then 08001.',
    }),
    probe: setting(duration({ minMs: 10 }), {
      standard: '1s',
      applies: 'reload',
      meaning:
        'Longest pause between two looks at a server; while there is no primary it is shorter.',
    }),
  })
  .describe('What happens when a primary dies; see [operations](operations.md#failover).')

/** Settings of one entry of `databases`. */
export const databaseSettings = z.strictObject({
  read_only_alias: setting(orNull(pgName()), {
    standard: null,
    applies: 'restart',
    meaning:
      'A second name, under which clients get the same database read-only, from replicas only.',
  }),
  aliases: setting(nameList(), {
    standard: [],
    applies: 'restart',
    meaning: 'Further names under which clients get the same database and the same pools.',
  }),
  pool: poolSettings.prefault({}),
  server_settings: z
    .record(
      z.string().regex(/^[a-z_][a-z0-9_.]*$/i),
      required(text(), {
        example: 'UTC',
        applies: 'restart',
        meaning: 'Value with which every server connection begins, and which RESET goes back to.',
      }),
    )
    .prefault({})
    .describe('Settings of server connections, by name: `timezone`, `datestyle`, …'),
  connect_query: setting(orNull(text('SQL')), {
    standard: null,
    applies: 'restart',
    meaning:
      'Run on every new server connection; one on which it fails, or takes longer than ' +
      '`pool.server_connect_timeout`, is not used.',
  }),
  server_user: serverUser.optional(),
  mover_user: moverUser.optional(),
  shards: z.array(shard).min(1),
  sharding: sharding.optional(),
  reads: reads.prefault({}),
  failover: failover.prefault({}),
  rebalance: rebalanceSettings.prefault({}),
})
