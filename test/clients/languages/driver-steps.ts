// What every driver in another language does, by the name that its program gives the step.

/** Steps of a driver's program. */
export const driverSteps = {
  tables: 'a table is made and filled with hundreds of rows',
  types: 'values of many types come back as they were sent',
  transactions: 'transactions and savepoints are committed and rolled back',
  fail: 'errors have the SQLSTATE and the words of PostgreSQL',
  prepared: 'prepared statements serve again and again, over new connections',
  batch: 'many statements are sent at once; one that fails takes its transaction back',
} as const

/** COPY, for the drivers that have it. */
export const copyStep = {
  copy: 'COPY both ways; one that fails or is given up leaves nothing',
} as const

/** Portals or cursors. */
export const partsStep = { parts: 'a large result is fetched in parts' } as const

/** Cancelling, for the drivers that have it. */
export const cancelStep = {
  cancel: 'a running statement is cancelled, and the connection goes on',
} as const

/** Settings of a session. */
export const settingsStep = {
  settings: 'settings belong to the connection that made them',
} as const

/** Threads or the like. */
export const crowdStep = { crowd: 'twenty connections at once share four servers' } as const

/** What most drivers can do. */
export const moreSteps = { ...partsStep, ...cancelStep, ...settingsStep, ...crowdStep } as const

/** LISTEN, for the drivers that have it. */
export const listenStep = {
  listen: 'notifications arrive at who listens, and at nobody else',
} as const

/** DDL under a prepared statement, for the drivers that keep what they know of its columns. */
export const ddlStep = {
  ddl: 'a prepared statement goes on after DDL that changes its columns',
} as const
