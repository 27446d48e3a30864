// What the router knows of the database: relations, columns, functions. Plain data, loaded by
// catalog/schema-loader.ts from the home shard, never changed after it was built.

/**
 * Where a relation's rows live. `catalog`: system catalogs; `mixed`: a view over sharded tables.
 */
export type Placement = 'sharded' | 'reference' | 'home' | 'catalog' | 'mixed'

export type Column = {
  readonly name: string
  /** format_type() of the column, such as `bigint` or `character varying(20)`. */
  readonly type: string
  /** pg_type.oid; a domain's base type. */
  readonly typeOid: number
  readonly notNull: boolean
  /** SQL of the default expression; also nextval(…) for serial. Null without one. */
  readonly defaultSql: string | null
  /** True when the default is not IMMUTABLE: two shards would compute different values. */
  readonly defaultVolatile: boolean
  readonly identity: 'none' | 'always' | 'by_default'
  readonly generated: boolean
  /**
   * False under a nondeterministic collation, whose equal values may hash differently. Absent:
   * true.
   */
  readonly deterministic?: boolean
}

export type Relation = {
  readonly schema: string
  readonly name: string
  /**
   * pg_class.relkind: r table, p partitioned, v view, m materialized view, S sequence, f foreign.
   */
  readonly kind: string
  readonly placement: Placement
  /** Shard key column; null unless sharded. */
  readonly key: string | null
  /** In order of attnum. */
  readonly columns: readonly Column[]
  /** Columns of the primary key in order; absent: not known. */
  readonly primaryKey?: readonly string[]
  /** Why no replica may answer for it, such as `the unlogged table "t"`; absent: replicas may. */
  readonly primaryOnly?: string
  /**
   * Functions that reading it runs, as a view's or a row policy's: `name` of the system's own, else
   * `schema.name`. Absent: none.
   */
  readonly calls?: readonly string[]
}

export type Volatility = 'immutable' | 'stable' | 'volatile'

export type FunctionTraits = {
  readonly volatility: Volatility
  readonly builtin: boolean
  /**
   * True when an overload is an aggregate or a window function; absent: known for built-in ones
   * only.
   */
  readonly aggregate?: boolean
  /** Of a user's function: the system has one of that name as well. */
  readonly shadows?: boolean
  /** Of a user's function: the schemas that have it. */
  readonly schemas?: readonly string[]
}

/** Users' VOLATILE code that runs without a function being called by name. */
export type HiddenVolatile = {
  readonly operators: ReadonlySet<string>
  /** Types that casts run it for, or checks of a domain. */
  readonly types: ReadonlySet<string>
  /** A cast that no statement has to write down. */
  readonly implicitCast: boolean
}

export type Schema = {
  /** Differs after every load, so that plans made from an older one are not used. */
  readonly version: number
  /** Keyed by `schema.name`. */
  readonly relations: ReadonlyMap<string, Relation>
  /**
   * Keyed by bare function name: the most volatile of all its overloads; user-defined ones marked.
   */
  readonly functions: ReadonlyMap<string, FunctionTraits>
  /** Absent: there is none. */
  readonly hiddenVolatile?: HiddenVolatile
  /** Schemas searched when the client has not set search_path; `"$user"` already resolved. */
  readonly defaultSearchPath: readonly string[]
  /** Of any login; absent: nothing is known but that. */
  readonly loginPaths?: LoginPaths
}

/** The search_path that logins begin with, as its setting is written. */
export type LoginPaths = {
  /** Of those who have no setting of their own; null: not known, as the login that has read the schema has one. */
  readonly common: string | null
  /** By the names of roles. */
  readonly own: ReadonlyMap<string, string>
}

/**
 * Functions that may run on replicas although they are VOLATILE, or may not although they are not:
 * `name` or `schema.name`, lower case.
 */
export type ReplicaRules = {
  readonly allow: ReadonlySet<string>
  readonly deny: ReadonlySet<string>
}

export type KeyType = 'bigint' | 'text' | 'uuid'

/** The `sharding` section of a database, as the router and the catalog need it. */
export type ShardingRules = {
  readonly key: string
  readonly keyType: KeyType
  /** Power of two, fixed for the life of the cluster. */
  readonly vnodeCount: number
  /** Tables named in the configuration; `schema.name` or bare `name` (then of any schema). */
  readonly tables: ReadonlyMap<
    string,
    { readonly key: string } | { readonly placement: 'reference' | 'home' }
  >
}
