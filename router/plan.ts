// What the planner answers for one statement, and what the executor needs of it. Immutable data.
import type { PgError } from '../core/errors.ts'
import type { ShardId, Vnode } from '../core/ids.ts'
import type { Topology, TopologyMove } from './topology.ts'

/** What a statement does to the session or the transaction, whatever shard it runs on. */
export type SessionCommand =
  | { readonly kind: 'empty' }
  | ({ readonly kind: 'begin' } & TransactionModes)
  | { readonly kind: 'commit'; readonly chain: boolean }
  | { readonly kind: 'rollback'; readonly chain: boolean }
  | { readonly kind: 'savepoint'; readonly name: string }
  | { readonly kind: 'release'; readonly name: string }
  | { readonly kind: 'rollbackTo'; readonly name: string }
  /** SET [SESSION]: tracked and replayed. `name` is lower case. */
  | { readonly kind: 'set'; readonly name: string }
  /** SET LOCAL, SET TRANSACTION, SET CONSTRAINTS: ends with the transaction. */
  | { readonly kind: 'setLocal'; readonly modes?: TransactionModes }
  /** RESET, or SET … TO DEFAULT: the tag tells which. */
  | { readonly kind: 'reset'; readonly name: string; readonly tag: 'RESET' | 'SET' }
  | { readonly kind: 'resetAll' }
  | { readonly kind: 'discardAll' }
  | { readonly kind: 'deallocate'; readonly name: string | null }
  /** SQL's PREPARE. */
  | { readonly kind: 'prepare'; readonly name: string }
  /** EXECUTE, or a statement with one inside. */
  | { readonly kind: 'execute'; readonly name: string }
  | { readonly kind: 'listen'; readonly channel: string }
  /** `channel` null: all of them. */
  | { readonly kind: 'unlisten'; readonly channel: string | null }
  /** The whole query is pg_listening_channels(). */
  | { readonly kind: 'listeningChannels'; readonly column: string }
  /** NOTIFY; its sender may listen itself. */
  | { readonly kind: 'notify' }
  /** SELECT set_config(…) whose arguments are constants or parameters. */
  | { readonly kind: 'setConfig'; readonly calls: readonly SetConfigCall[] }
  /** EXPLAIN (ROUTE) of the statement whose text this is. */
  | { readonly kind: 'explainRoute'; readonly sql: string }
  /** SHOW ringfence.…; `name` is lower case. */
  | {
      readonly kind: 'showRingfence'
      readonly name: string
      /** Asked by SELECT current_setting(…), which answers NULL instead of an error if so told. */
      readonly asFunction?: { readonly column: string; readonly missingOk: boolean }
    }
  /** SET, RESET or set_config() of ringfence.…, which no server ever hears of. */
  | SetRingfence

/** A constant of the statement or parameter number `param` (from 1). */
export type ScalarSource = { readonly constant: string | null } | { readonly param: number }
export type SetConfigCall = {
  /** Name of the row's column when it is not set_config. */
  readonly column?: string
  readonly name: ScalarSource
  readonly value: ScalarSource
  readonly local: ScalarSource
}

export type SetRingfence = {
  readonly kind: 'setRingfence'
  /** With the prefix, lower case. */
  readonly name: string
  /** Null: back to the default. */
  readonly value: ScalarSource | null
  /** Until the end of the transaction. */
  readonly local: boolean | ScalarSource
  /** True when the answer is a row of one text column, as of set_config(). */
  readonly asFunction: boolean
  /** Name of that column. */
  readonly column: string
}

export type Isolation = 'serializable' | 'repeatable read' | 'read committed' | 'read uncommitted'

/** What BEGIN and SET TRANSACTION ask for; null: nothing said. */
export type TransactionModes = {
  readonly access: 'read only' | 'read write' | null
  readonly isolation: Isolation | null
  readonly deferrable: boolean
}

/** Whether the statement may run on a replica; the reason is for EXPLAIN (ROUTE). */
export type ReplicaUse =
  | { readonly kind: 'allowed' }
  | { readonly kind: 'primary'; readonly reason: string }

/** Session state that cannot be replayed: the client keeps its server from then on. */
export type PinReason =
  | 'temporary table'
  | 'advisory lock'
  | 'cursor with hold'
  | 'LISTEN'
  | 'PREPARE'
  | 'sequence'
  | 'LOAD'
  | 'session state'
  /** Its server could not be asked; it is asked again behind the next statement. */
  | 'unknown session state'

export type Plan =
  /**
   * Passed on unchanged to one shard. `vnode` is null when no key decided (home table, no table).
   */
  | {
      readonly kind: 'single'
      readonly shard: ShardId
      readonly vnode: Vnode | null
      readonly writes: boolean
      /** True when any shard would answer the same: a transaction's own server is preferred. */
      readonly anyShard: boolean
      /** Of its keys, what is on the move; empty most of the time. */
      readonly moves: readonly TopologyMove[]
    }
  /** The same statement on every named shard at once; rows are concatenated, tags added up. */
  | {
      readonly kind: 'scatter'
      readonly shards: readonly ShardId[]
      /** All that is on the move. */
      readonly moves: readonly TopologyMove[]
      /** Rows that shards hold without owning them, by the same topology as `shards`. */
      readonly hidden: Topology['hidden']
    }
  /**
   * The same statement on every shard, home first, in one two-phase transaction; home's answer
   * counts.
   */
  | {
      readonly kind: 'everywhere'
      readonly shards: readonly ShardId[]
      readonly what: 'ddl' | 'reference'
      /** Name of the table that is written, for messages. */
      readonly relation: string
      /** Volatile parts of a reference write: computed once on the home shard before it runs. */
      readonly once: EvaluateOnce | null
      /** A shard is about to join: it would miss what runs now. */
      readonly joining: boolean
      /** All that is on the move: rows that refer to the relation follow it by foreign keys. */
      readonly moves: readonly TopologyMove[]
    }
  /** COPY … FROM STDIN into a sharded table: the rows themselves say which shard. */
  | { readonly kind: 'copyIn'; readonly copy: CopyInPlan }
  /** Needs no shard, or every shard that the transaction has. */
  | { readonly kind: 'session'; readonly command: SessionCommand }
  | {
      readonly kind: 'refuse'
      readonly error: PgError
      /** A name was not found: the schema may be out of date, so it is worth loading once more. */
      readonly unresolved?: boolean
    }

/** `sql` gives one row of text values per evaluated row; `rewrite` puts them into the statement. */
export type EvaluateOnce = {
  readonly sql: string
  readonly rewrite: (rows: readonly (readonly (string | null)[])[]) => string
}

export type CopyInPlan = {
  readonly relation: string
  readonly keyColumn: string
  /** Position of the key in the rows sent, from 0. */
  readonly keyIndex: number
  readonly columnCount: number
  readonly format: 'text' | 'csv' | 'binary'
  readonly delimiter: string
  readonly nullString: string
  readonly quote: string
  readonly escape: string
  readonly header: boolean
}
