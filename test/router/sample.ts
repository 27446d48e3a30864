// A database for planner tests, written down instead of loaded: tables of every placement,
// functions of every kind. The topology deals vnodes to three shards in turn, so that neighbouring
// keys live apart.
import { epoch, shardId } from '../../core/ids.ts'
import type {
  Column,
  FunctionTraits,
  KeyType,
  Placement,
  Relation,
  ReplicaRules,
  Schema,
  ShardingRules,
  Volatility,
} from '../../router/schema.ts'
import type { RouterContext } from '../../router/router.ts'
import { restingTopology, type Topology } from '../../router/topology.ts'

const oids: Readonly<Record<string, number>> = {
  bigint: 20,
  smallint: 21,
  integer: 23,
  text: 25,
  json: 114,
  bpchar: 1042,
  'character varying': 1043,
  date: 1082,
  'timestamp with time zone': 1184,
  numeric: 1700,
  uuid: 2950,
}

/** A column as `name type`, with `?` when it may be NULL and what follows as its default. */
function column(definition: string): Column {
  const [head = '', defaultSql] = definition.split(' = ')
  const nullable = head.endsWith('?')
  const [name = '', ...rest] = head.replace(/\?$/, '').split(' ')
  const type = rest.join(' ')
  const identity = defaultSql === 'identity' ? 'always' : 'none'
  return {
    name,
    type,
    typeOid: oids[type.replace(/\(.*\)/, '')] ?? 0,
    notNull: !nullable,
    defaultSql: identity === 'none' ? (defaultSql ?? null) : null,
    defaultVolatile: identity === 'none' && (defaultSql?.includes('(') ?? false),
    identity,
    generated: false,
  }
}

type TableSpec = {
  readonly placement: Placement
  readonly columns: readonly string[]
  readonly key?: string
  readonly kind?: string
  readonly primaryOnly?: string
  readonly calls?: readonly string[]
}

function relation(qualified: string, spec: TableSpec): [string, Relation] {
  const [schema = '', name = ''] = qualified.split('.')
  const { placement, key = null, kind = 'r', columns, ...reading } = spec
  const own = { schema, name, kind, placement, key, columns: columns.map(column) }
  return [qualified, { ...own, ...reading }]
}

const sharded = (columns: readonly string[], key = 'tenant_id'): TableSpec => ({
  placement: 'sharded',
  key,
  columns,
})

/** Tables whose key has type `keySqlType`. */
function sampleRelations(keySqlType: string): ReadonlyMap<string, Relation> {
  const key = `tenant_id ${keySqlType}`
  return new Map([
    relation('public.tenants', sharded([`id ${keySqlType}`, 'name text'], 'id')),
    relation(
      'public.orders',
      sharded([
        key,
        'id bigint = nextval(orders_id_seq)',
        'user_id bigint',
        'total numeric?',
        'placed_at timestamp with time zone? = now()',
        'note text?',
      ]),
    ),
    relation(
      'public.items',
      sharded(['id bigint', key, 'order_id bigint', 'product_id bigint', 'quantity integer?']),
    ),
    relation('public.users', sharded([key, 'id bigint', 'email text', 'parent_id bigint?'])),
    relation('public.loose', sharded([`${key}?`, 'id bigint'])),
    relation('public.products', {
      placement: 'reference',
      columns: [
        'id bigint = nextval(products_id_seq)',
        'name text',
        'price numeric?',
        'added_at timestamp with time zone? = now()',
      ],
    }),
    relation('public.countries', { placement: 'reference', columns: ['code text', 'name text'] }),
    relation('public.badges', {
      placement: 'reference',
      columns: ['id bigint = identity', 'label text'],
    }),
    relation('public.migrations', { placement: 'home', columns: ['version bigint', 'name text?'] }),
    relation('public.order_view', { placement: 'mixed', kind: 'v', columns: [key, 'id bigint'] }),
    relation('public.product_view', { placement: 'reference', kind: 'v', columns: ['id bigint'] }),
    relation('pg_catalog.pg_class', { placement: 'catalog', columns: [] }),
    relation('information_schema.tables', { placement: 'catalog', kind: 'v', columns: [] }),
    relation('audit.orders', sharded([key, 'id bigint'])),
    relation('audit.log', { placement: 'home', columns: ['id bigint', 'tenant_id bigint?'] }),
    relation('audit.scratch', {
      placement: 'home',
      columns: ['id bigint'],
      primaryOnly: 'the unlogged table "scratch"',
    }),
    relation('audit.guarded', {
      placement: 'home',
      columns: ['id bigint'],
      calls: ['audit.touch'],
    }),
    relation('audit.calm_view', {
      placement: 'home',
      kind: 'v',
      columns: ['id bigint'],
      calls: ['now', 'random', 'audit.tenant_total'],
    }),
    relation('audit.busy_view', {
      placement: 'home',
      kind: 'v',
      columns: ['id bigint'],
      calls: ['now', 'audit.touch'],
    }),
    relation('audit.server_view', {
      placement: 'home',
      kind: 'v',
      columns: ['id bigint'],
      calls: ['pg_backend_pid'],
    }),
  ])
}

const builtins: Readonly<Record<Volatility, string>> = {
  immutable:
    'count sum avg min max array_agg string_agg lower upper abs coalesce length bool_and row_number rank ' +
    'generate_series unnest jsonb_build_object json_agg jsonb_array_elements date_part extract like_escape md5',
  stable:
    'now transaction_timestamp statement_timestamp to_char age current_setting date_trunc concat timezone ' +
    'pg_backend_pid inet_server_addr current_database version pg_get_userbyid txid_current to_regclass',
  volatile:
    'random gen_random_uuid clock_timestamp nextval setval currval lastval set_config pg_sleep pg_notify ' +
    'pg_advisory_lock pg_advisory_xact_lock pg_try_advisory_lock pg_advisory_unlock pg_relation_size ' +
    'query_to_xml lo_create pg_current_wal_lsn',
}

function sampleFunctions(): ReadonlyMap<string, FunctionTraits> {
  const functions = new Map<string, FunctionTraits>()
  for (const volatility of ['immutable', 'stable', 'volatile'] as const) {
    for (const name of builtins[volatility].split(' '))
      functions.set(name, { volatility, builtin: true })
  }
  functions.set('plus_tax', { volatility: 'immutable', builtin: false, aggregate: false })
  functions.set('my_median', { volatility: 'immutable', builtin: false, aggregate: true })
  functions.set('perhaps', { volatility: 'immutable', builtin: false })
  functions.set('tenant_total', { volatility: 'stable', builtin: false })
  functions.set('touch', { volatility: 'volatile', builtin: false, schemas: ['audit'] })
  return functions
}

export const sampleTopology: Topology = restingTopology(
  epoch(7),
  ['s1', 's2', 's3'].map(shardId),
  Uint16Array.from({ length: 4096 }, (_, vnode) => vnode % 3),
)

export function sampleRules(keyType: KeyType): ShardingRules {
  return {
    key: 'tenant_id',
    keyType,
    vnodeCount: 4096,
    tables: new Map<string, { key: string } | { placement: 'reference' | 'home' }>([
      ['tenants', { key: 'id' }],
      ['products', { placement: 'reference' }],
      ['countries', { placement: 'reference' }],
      ['badges', { placement: 'reference' }],
      ['audit.log', { placement: 'home' }],
    ]),
  }
}

export type SampleOptions = {
  readonly keyType?: KeyType
  readonly keySqlType?: string
  readonly searchPath?: readonly string[]
  readonly version?: number
  readonly topology?: Topology
}

/** The sample database, sharded. */
export function sampleContext(options: SampleOptions = {}): RouterContext {
  const { keyType = 'bigint', keySqlType = keyType, searchPath = ['public'] } = options
  const schema: Schema = {
    version: options.version ?? 1,
    relations: sampleRelations(keySqlType),
    functions: sampleFunctions(),
    defaultSearchPath: ['public'],
  }
  const topology = options.topology ?? sampleTopology
  return { topology, schema, rules: sampleRules(keyType), searchPath }
}

/** A database with one shard, no rules, and replicas. */
export function replicaContext(
  replicaRules: ReplicaRules | null = null,
  hidden?: {
    readonly operators: readonly string[]
    readonly types: readonly string[]
    readonly implicitCast?: boolean
  },
): RouterContext {
  const relations = [...sampleRelations('bigint')].map(([name, relation]): [string, Relation] => {
    const placement = relation.placement === 'catalog' ? 'catalog' : 'home'
    return [name, { ...relation, placement, key: null }]
  })
  const functions = new Map(sampleFunctions())
  const own = { builtin: false, schemas: ['audit'] }
  functions.set('has_access', { ...own, volatility: 'stable' })
  functions.set('version', { ...own, volatility: 'volatile', shadows: true })
  functions.set('to_regclass', { ...own, volatility: 'stable', shadows: true })
  const schema: Schema = {
    version: 1,
    relations: new Map(relations),
    functions,
    defaultSearchPath: ['public'],
    ...(hidden === undefined
      ? {}
      : {
          hiddenVolatile: {
            operators: new Set(hidden.operators),
            types: new Set(hidden.types),
            implicitCast: hidden.implicitCast ?? false,
          },
        }),
  }
  return { ...plainContext, schema, searchPath: ['audit', 'public'], replicaRules }
}

/** A database with one shard and no rules. */
export const plainContext: RouterContext = {
  topology: restingTopology(epoch(0), [shardId('only')], new Uint16Array(0)),
  schema: null,
  rules: null,
  searchPath: ['public'],
}
