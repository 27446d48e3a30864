// Errors that a client can meet: built from the rows of the error table, which says what each means.
import type { ErrorSpec } from './error-spec.ts'
import { errorTable } from './error-table.ts'

/** What of an ErrorResponse a client sees; anything else of it PostgreSQL alone can say. */
export class PgError extends Error {
  readonly sqlstate: string
  readonly severity: 'ERROR' | 'FATAL'
  readonly detail: string | undefined
  readonly hint: string | undefined
  /** Character in the statement, counted from 1. */
  readonly position: number | undefined
  /** Name of PostgreSQL's own function, where drivers go by that. */
  readonly routine: string | undefined

  constructor(message: string, fields: PgErrorFields) {
    super(message, fields.cause === undefined ? undefined : { cause: fields.cause })
    this.name = 'PgError'
    this.sqlstate = fields.sqlstate
    this.severity = fields.severity ?? 'ERROR'
    this.detail = fields.detail
    this.hint = fields.hint
    this.position = fields.position
    this.routine = fields.routine
  }
}

export type PgErrorFields = {
  readonly sqlstate: string
  readonly severity?: 'ERROR' | 'FATAL' | undefined
  readonly detail?: string | undefined
  readonly hint?: string | undefined
  readonly position?: number | undefined
  readonly routine?: string | undefined
  readonly cause?: unknown
}

export type ErrorName = keyof typeof errorTable
export type ErrorArg = string | number

type Extra = Pick<PgErrorFields, 'detail' | 'position' | 'cause' | 'hint' | 'routine'>

/** Builds the error of that row: `%s` of the message and then of the hint take `args` in order. */
export function pgError(
  name: ErrorName,
  args: readonly ErrorArg[] = [],
  extra: Extra = {},
): PgError {
  const spec: ErrorSpec = errorTable[name]
  const rest = [...args]
  const fill = (text: string) => text.replaceAll('%s', () => String(rest.shift() ?? ''))
  const message = fill(spec.message)
  const hint = extra.hint ?? (spec.hint === undefined ? undefined : fill(spec.hint))
  return new PgError(message, { ...extra, sqlstate: spec.sqlstate, severity: spec.severity, hint })
}

/** A value thrown anywhere, as an error that a client can be told. */
export function toPgError(thrown: unknown): PgError {
  if (thrown instanceof PgError) return thrown
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  return pgError('internal', [message], { cause: thrown })
}
