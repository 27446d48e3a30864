// What the error table says of each error.

/** One row of the table. `%s` in message and detail takes the arguments in order. */
export type ErrorSpec = {
  readonly sqlstate: string
  readonly severity?: 'FATAL'
  readonly message: string
  readonly hint?: string
  /** Why a client meets it, and whether the same statement may simply be sent again. */
  readonly meaning: string
  readonly retry: 'safe' | 'unsafe' | 'useless'
}
