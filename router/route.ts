// What is fixed of a statement's plan before its values and the topology are known: the cached part
// of a plan.
import type { PgError } from '../core/errors.ts'
import type { AutoPrepare } from './auto-prepare.ts'
import type { InsertTarget, KeySource, Scalar } from './key-source.ts'
import type { Traces } from './traces.ts'
import type { CopyInPlan, EvaluateOnce, PinReason, ReplicaUse, SessionCommand } from './plan.ts'

/**
 * One origin of key values, and which of the statement's sharded tables follow from it (bit per
 * table).
 */
export type Cover = { readonly source: KeySource; readonly tables: bigint }

/** Whether the unchanged statement, asked of every shard, gives each row of the answer once. */
export type Scatter =
  /** `offset`: an OFFSET that must turn out to be 0. */
  | { readonly kind: 'rows'; readonly offset: Scalar | null }
  | { readonly kind: 'refused'; readonly error: PgError }

export type Route =
  /** No rows of tables, or those of reference tables only: any shard answers the same. */
  | { readonly kind: 'any' }
  | { readonly kind: 'reference' }
  | { readonly kind: 'home' }
  | {
      readonly kind: 'key'
      readonly covers: readonly Cover[]
      /** Bits of all sharded tables. */
      readonly tables: bigint
      /** Rows of a query are inserted: their key must not be NULL and must fit. */
      readonly inserted: InsertTarget | null
      readonly scatter: Scatter
    }
  | { readonly kind: 'scatter'; readonly offset: Scalar | null }
  | {
      readonly kind: 'everywhere'
      readonly what: 'ddl' | 'reference'
      readonly relation: string
      readonly once: EvaluateOnce | null
      /**
       * The table has columns of time: a parameter such as 'now' would differ from shard to shard.
       */
      readonly timeColumns: boolean
    }
  | { readonly kind: 'copyIn'; readonly copy: CopyInPlan }
  | { readonly kind: 'session'; readonly command: SessionCommand }
  | {
      readonly kind: 'refuse'
      readonly error: PgError
      readonly unresolved: boolean
      /** What stands in the way is that there are several shards: one with all rows answers it. */
      readonly alone?: boolean
    }

export type Command =
  | 'select'
  | 'insert'
  | 'update'
  | 'delete'
  | 'merge'
  | 'copy'
  | 'explain'
  | 'ddl'
  | 'session'
  | 'utility'
  | 'empty'

/** One statement without its values, but for who may serve it. */
export type RoutedShape = {
  readonly command: Command
  readonly route: Route
  readonly isReadOnly: boolean
  readonly pin: PinReason | null
  readonly paramCount: number
  /** Holds for the very text it was made from only, not for others of the same template. */
  readonly exactOnly: boolean
}

/** One statement without its values. */
export type Shape = RoutedShape & {
  readonly replica: ReplicaUse
  readonly traces: Traces
  /** How it runs as a prepared statement with its literals as parameters; absent or null: it does not. */
  readonly autoPrepare?: AutoPrepare | null
}

/** A statement that is refused whatever its values are; `alone`: unless there is one shard only. */
export function refused(error: PgError, unresolved = false, alone = false): Route {
  return { kind: 'refuse', error, unresolved, alone }
}
