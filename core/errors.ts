// The one table of errors that a client can meet. docs/errors.md is generated from it.
// Wording follows PostgreSQL's error style guide; SQLSTATEs are those of its appendix A.

/** What of an ErrorResponse a client sees; anything else of it PostgreSQL alone can say. */
export class PgError extends Error {
  readonly sqlstate: string
  readonly severity: 'ERROR' | 'FATAL'
  readonly detail: string | undefined
  readonly hint: string | undefined
  /** Character in the statement, counted from 1. */
  readonly position: number | undefined

  constructor(message: string, fields: PgErrorFields) {
    super(message, fields.cause === undefined ? undefined : { cause: fields.cause })
    this.name = 'PgError'
    this.sqlstate = fields.sqlstate
    this.severity = fields.severity ?? 'ERROR'
    this.detail = fields.detail
    this.hint = fields.hint
    this.position = fields.position
  }
}

export type PgErrorFields = {
  readonly sqlstate: string
  readonly severity?: 'ERROR' | 'FATAL' | undefined
  readonly detail?: string | undefined
  readonly hint?: string | undefined
  readonly position?: number | undefined
  readonly cause?: unknown
}

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

export const errorTable = {
  unsupportedAcrossShards: {
    sqlstate: '0A000',
    message: '%s is not supported across shards',
    hint: 'Tie every sharded table to one shard key value, for example with WHERE %s = ….',
    meaning: 'The statement cannot be answered exactly from several shards by this version.',
    retry: 'useless',
  },
  unsupported: {
    sqlstate: '0A000',
    message: '%s is not supported through Ringfence',
    meaning: 'The proxy cannot carry this construct safely, so it refuses it.',
    retry: 'useless',
  },
  secondShardWritten: {
    sqlstate: '0A000',
    message: 'cannot write to shard "%s" in a transaction that has already written to shard "%s"',
    hint: 'Write rows of one shard key value per transaction.',
    meaning: 'A transaction may write to one shard; reference tables and DDL are the exception.',
    retry: 'useless',
  },
  syntaxError: {
    sqlstate: '42601',
    message: '%s',
    meaning: 'PostgreSQL’s grammar does not accept the statement.',
    retry: 'useless',
  },
  statementTooComplex: {
    sqlstate: '54001',
    message: 'stack depth limit exceeded',
    hint: 'The statement is nested too deeply to be routed; simplify it.',
    meaning: 'The grammar ran out of stack on a statement; nothing of it was executed.',
    retry: 'useless',
  },
  statementTooLong: {
    sqlstate: '54000',
    message: 'statement is longer than %s bytes',
    hint: 'Split the statement, or load rows with COPY.',
    meaning: 'Statements of a sharded database are parsed, and parsing has a limit.',
    retry: 'useless',
  },
  undefinedTable: {
    sqlstate: '42P01',
    message: 'relation "%s" does not exist',
    meaning: 'No such table, view or sequence on the home shard under the search_path in force.',
    retry: 'useless',
  },
  preparedStatementUnknown: {
    sqlstate: '26000',
    message: 'prepared statement "%s" does not exist',
    meaning: 'Bind or Describe names a statement that this client has not prepared.',
    retry: 'useless',
  },
  unnamedStatementUnknown: {
    sqlstate: '26000',
    message: 'unnamed prepared statement does not exist',
    meaning: 'Bind or Describe uses the unnamed statement before any Parse.',
    retry: 'useless',
  },
  preparedStatementExists: {
    sqlstate: '42P05',
    message: 'prepared statement "%s" already exists',
    meaning: 'Parse uses a name that this client has already given to a statement.',
    retry: 'useless',
  },
  multipleCommandsPrepared: {
    sqlstate: '42601',
    message: 'cannot insert multiple commands into a prepared statement',
    meaning: 'Parse carries more than one statement.',
    retry: 'useless',
  },
  portalUnknown: {
    sqlstate: '34000',
    message: 'portal "%s" does not exist',
    meaning: 'Execute, Describe or Close names a portal that the transaction does not have.',
    retry: 'useless',
  },
  transactionAborted: {
    sqlstate: '25P02',
    message: 'current transaction is aborted, commands ignored until end of transaction block',
    meaning: 'An earlier statement of the transaction failed; only ROLLBACK can follow.',
    retry: 'useless',
  },
  poolTimeout: {
    sqlstate: '53300',
    message: 'no server connection to shard "%s" became free within %s ms',
    hint: 'Raise pool.size, shorten transactions, or raise pool.query_wait_timeout.',
    meaning: 'Every server connection of the pool was in use until the deadline.',
    retry: 'safe',
  },
  poolQueueFull: {
    sqlstate: '53300',
    message: 'too many clients are waiting for a server connection to shard "%s"',
    hint: 'Raise pool.size or send fewer statements at once.',
    meaning: 'The queue of waiting statements is at its limit.',
    retry: 'safe',
  },
  tooManyClients: {
    sqlstate: '53300',
    severity: 'FATAL',
    message: 'sorry, too many clients already',
    hint: 'Raise pool.max_client_conn of database "%s".',
    meaning: 'The database has reached its limit of client connections.',
    retry: 'safe',
  },
  serverUnreachable: {
    sqlstate: '08001',
    message: 'could not connect to shard "%s": %s',
    hint: 'Check with "ringfence check" that the server runs and accepts our login.',
    meaning: 'No connection to the shard could be opened; nothing of the statement was executed.',
    retry: 'safe',
  },
  serverLost: {
    sqlstate: '08006',
    message: 'connection to shard "%s" was lost: %s',
    hint: 'The statement may or may not have taken effect; check before sending it again.',
    meaning: 'The server closed the connection while it was working for this client.',
    retry: 'unsafe',
  },
  outcomeInDoubt: {
    sqlstate: '08007',
    message: 'connection to shard "%s" was lost while the transaction was being decided',
    hint: 'Check whether its rows are there before sending the transaction again.',
    meaning: 'The decider died between our COMMIT and its answer; recovery finishes it one way.',
    retry: 'unsafe',
  },
  protocolViolation: {
    sqlstate: '08P01',
    severity: 'FATAL',
    message: 'protocol violation: %s',
    meaning: 'The client sent bytes that the protocol does not allow; its connection is closed.',
    retry: 'useless',
  },
  unsupportedProtocol: {
    sqlstate: '0A000',
    severity: 'FATAL',
    message: 'unsupported frontend protocol %s: server supports 3.0 to 3.2',
    meaning: 'The client asked for a protocol version that does not exist here.',
    retry: 'useless',
  },
  startupOptionInvalid: {
    sqlstate: '42601',
    severity: 'FATAL',
    message: 'invalid command-line argument for server process: %s',
    hint: 'The startup parameter "options" takes -c name=value and --name=value.',
    meaning: 'The startup parameter "options" holds something that is not a setting.',
    retry: 'useless',
  },
  loginTimeout: {
    sqlstate: '08006',
    severity: 'FATAL',
    message: 'login was not completed within %s ms',
    meaning: 'The client took too long to send its startup packet or its password.',
    retry: 'safe',
  },
  passwordWrong: {
    sqlstate: '28P01',
    severity: 'FATAL',
    message: 'password authentication failed for user "%s"',
    meaning: 'Unknown user or wrong password; the answer is the same for both.',
    retry: 'useless',
  },
  loginRejected: {
    sqlstate: '28000',
    severity: 'FATAL',
    message: 'connection from "%s" as user "%s" to database "%s" is rejected by auth.rules',
    meaning: 'No rule of auth.rules lets this user in from there, or one rejects it.',
    retry: 'useless',
  },
  encodingUnsupported: {
    sqlstate: '0A000',
    message: 'client_encoding "%s" is not supported for a sharded database',
    hint: 'Use client_encoding UTF8.',
    meaning: 'Shard keys are hashed as UTF-8; in another encoding they would go to a wrong shard.',
    retry: 'useless',
  },
  userMissing: {
    sqlstate: '28000',
    severity: 'FATAL',
    message: 'no PostgreSQL user name specified in startup packet',
    meaning: 'The startup packet has no user.',
    retry: 'useless',
  },
  databaseUnknown: {
    sqlstate: '3D000',
    severity: 'FATAL',
    message: 'database "%s" does not exist',
    meaning: 'The configuration has no database of that name.',
    retry: 'useless',
  },
  shuttingDown: {
    sqlstate: '57P01',
    severity: 'FATAL',
    message: 'terminating connection because the proxy is shutting down',
    meaning: 'The proxy was told to stop and the client was between transactions.',
    retry: 'safe',
  },
  notAccepting: {
    sqlstate: '57P03',
    severity: 'FATAL',
    message: 'the proxy is shutting down',
    meaning: 'A new login came after the proxy was told to stop.',
    retry: 'safe',
  },
  adminCommandUnknown: {
    sqlstate: '42601',
    message: 'unknown command "%s"',
    hint: 'SHOW HELP lists the commands of the admin console.',
    meaning: 'The admin console has no such command.',
    retry: 'useless',
  },
  adminOnly: {
    sqlstate: '42501',
    severity: 'FATAL',
    message: 'permission denied for the admin console',
    hint: 'Log in as a user that the configuration marks with "admin: true".',
    meaning: 'Only admins may connect to the database "ringfence".',
    retry: 'useless',
  },
  vnodeFenced: {
    sqlstate: '57P03',
    message: 'virtual node %s is being moved to another shard',
    hint: 'Send the statement again in a moment.',
    meaning: 'The row belongs to a virtual node that is fenced for its switch.',
    retry: 'safe',
  },
  keyMissing: {
    sqlstate: '23502',
    message: 'null value in shard key column "%s" of relation "%s"',
    meaning: 'A row without a shard key has no shard.',
    retry: 'useless',
  },
  keyInvalid: {
    sqlstate: '22P02',
    message: 'invalid input syntax for type %s: "%s"',
    meaning: 'The shard key value cannot be read as the key column’s type.',
    retry: 'useless',
  },
  copyFormat: {
    sqlstate: '22P04',
    message: '%s',
    meaning: 'The data of a COPY FROM STDIN cannot be split into rows; the detail names the line.',
    retry: 'useless',
  },
  keyOutOfRange: {
    sqlstate: '22003',
    message: 'value "%s" is out of range for type %s',
    meaning: 'The shard key value does not fit the key column’s type.',
    retry: 'useless',
  },
  replayFailed: {
    sqlstate: '08006',
    severity: 'FATAL',
    message: 'session state could not be replayed on shard "%s": %s',
    hint: 'Connect again; check that the settings of the session are still valid on the server.',
    meaning: 'A server refused a setting or BEGIN that was accepted before.',
    retry: 'unsafe',
  },
  scatterRefused: {
    sqlstate: '0A000',
    message: 'the statement would be sent to several shards, which scatter.mode = refuse forbids',
    hint: 'Tie every sharded table to one shard key value.',
    meaning: 'The configuration allows only statements that one shard can answer.',
    retry: 'useless',
  },
  crossShardWriteRefused: {
    sqlstate: '0A000',
    message: 'the statement would write to all shards, which cross_shard_writes = refuse forbids',
    hint: 'Set cross_shard_writes to two_phase.',
    meaning: 'DDL and writes to reference tables need two-phase commit.',
    retry: 'useless',
  },
  pinRefused: {
    sqlstate: '0A000',
    message: '%s needs a server connection of its own, which pool.pin = refuse forbids',
    hint: 'Set pool.pin to allow, or connect to the shard directly.',
    meaning: 'The statement leaves session state that cannot be carried to another server.',
    retry: 'useless',
  },
  idleTransactionTimeout: {
    sqlstate: '25P03',
    severity: 'FATAL',
    message: 'terminating connection due to idle-in-transaction timeout',
    meaning: 'The client was silent inside a transaction for longer than pool.idle_transaction_timeout.',
    retry: 'safe',
  },
  keyTooLong: {
    sqlstate: '22001',
    message: 'value too long for %s characters of shard key column "%s" of relation "%s"',
    meaning: 'PostgreSQL would refuse the value, or cut blanks off it and so change the key.',
    retry: 'useless',
  },
  parameterMissing: {
    sqlstate: '42P02',
    message: 'there is no parameter $%s',
    meaning: 'The statement uses a parameter that was not bound.',
    retry: 'useless',
  },
  referenceCopiesDiffer: {
    sqlstate: 'XX001',
    message: 'copies of reference table "%s" differ between shards',
    hint: 'Compare the table on all shards; nothing of this statement was kept.',
    meaning: 'A write touched different numbers of rows on different shards and was rolled back.',
    retry: 'useless',
  },
  twoPhaseDisabled: {
    sqlstate: '55000',
    message: 'shard "%s" has max_prepared_transactions = 0',
    hint: 'Set max_prepared_transactions to at least max_connections and restart the server.',
    meaning: 'Writing to all shards atomically needs two-phase commit on each of them.',
    retry: 'useless',
  },
  catalogUnavailable: {
    sqlstate: '57P03',
    message: 'the topology could not be read from home shard "%s"',
    hint: 'Run "ringfence init", or check that the home shard is up.',
    meaning: 'Without the catalog the proxy does not know where rows live.',
    retry: 'safe',
  },
  copyFailed: {
    sqlstate: '57014',
    message: 'COPY from stdin failed: %s',
    meaning: 'The client ended its COPY with CopyFail.',
    retry: 'safe',
  },
  copyOverShards: {
    sqlstate: '0A000',
    message: 'COPY %s, line %s: the row belongs to shard "%s", the rows before it to shard "%s"',
    hint: 'Send one COPY per shard; "EXPLAIN (ROUTE)" tells the shard of a key. No row was kept.',
    meaning: 'A COPY into a sharded table may hold rows of one shard.',
    retry: 'useless',
  },
  activeTransaction: {
    sqlstate: '25001',
    message: '%s cannot run inside a transaction block',
    meaning: 'The statement is only allowed outside BEGIN … COMMIT.',
    retry: 'useless',
  },
  undefinedSetting: {
    sqlstate: '42704',
    message: 'unrecognized configuration parameter "%s"',
    meaning: 'SHOW names a setting that does not exist.',
    retry: 'useless',
  },
  internal: {
    sqlstate: 'XX000',
    message: 'internal error of the proxy: %s',
    hint: 'This is a bug: please report it with the proxy’s log.',
    meaning: 'An assertion failed; the transaction was rolled back.',
    retry: 'unsafe',
  },
} as const satisfies Record<string, ErrorSpec>

export type ErrorName = keyof typeof errorTable
export type ErrorArg = string | number

type Extra = Pick<PgErrorFields, 'detail' | 'position' | 'cause' | 'hint'>

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
