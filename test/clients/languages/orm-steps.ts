// What every ORM in another language does, by the name that its program gives the step.

/** Steps of an ORM's program. */
export const ormSteps = {
  migrate: 'its migrations run up, down and up again',
  crud: 'rows are created, read, changed and deleted',
  bulk: 'hundreds of rows are inserted and changed by few calls',
  upsert: 'a row is inserted or updated',
  transactions: 'a transaction is committed, another rolled back',
  nested: 'a nested transaction is a savepoint',
  fail: 'errors have the SQLSTATE and the words of PostgreSQL',
  relate: 'relations are loaded ahead and by joins',
  raw: 'SQL written by hand gets its parameters',
  types: 'JSON, arrays, numeric, times and bytes come back as they were sent',
  crowd: 'twenty threads with a connection each share four servers',
  reconnect: 'statements go on over new connections',
} as const
