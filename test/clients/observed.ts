// Turns what a client returned into plain JSON that two runs can be compared by. Types stay visible:
// a bigint and the same number as text are different observations.

/** A value that two runs are compared by. */
export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [name: string]: Json }

/** The observation of anything a client gave: dates, bytes, bigints and model objects included. */
export function observed(value: unknown): Json {
  if (value === null || value === undefined) return null
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
  if (value instanceof Date) return `Date ${value.toISOString()}`
  if (value instanceof Uint8Array) return `bytes ${Buffer.from(value).toString('hex')}`
  if (Array.isArray(value)) return value.map(observed)
  if (typeof value !== 'object') return typeof value
  if ('toJSON' in value && typeof value.toJSON === 'function') return observed(value.toJSON())
  return Object.fromEntries(Object.entries(value).map(([name, of]) => [name, observed(of)]))
}

/** Rows as a multiset: PostgreSQL promises no order without ORDER BY. */
export function unordered(rows: readonly unknown[]): Json {
  const texts = rows.map((row) => JSON.stringify(observed(row)))
  return texts.sort().map((text): Json => JSON.parse(text))
}

/**
 * A row whose generated `id` is replaced by its kind: shards draw from their own sequences, so the
 * numbers may differ from those of one server. Anything but a positive whole number stays visible.
 */
export function withoutId(row: object): Json {
  const { id, ...rest }: { readonly id?: unknown } = { ...row }
  const generated = /^[1-9]\d*$/.test(String(id))
  return observed({ ...rest, id: generated ? `generated ${typeof id}` : id })
}

/** The error that `promise` must end in, as the database reported it. */
export async function failure(promise: PromiseLike<unknown>): Promise<Json> {
  try {
    await promise
  } catch (thrown) {
    return databaseError(thrown)
  }
  throw new Error('expected an error, but the statement succeeded')
}

// ORMs wrap the driver's error, each under a name of its own; the SQLSTATE marks the innermost one.
const wrappers = ['cause', 'original', 'driverError', 'meta', 'driverAdapterError'] as const

function databaseError(thrown: unknown): Json {
  if (typeof thrown !== 'object' || thrown === null) return observed(thrown)
  const fields: Readonly<Record<string, unknown>> = { ...thrown }
  const code = fields['code'] ?? fields['originalCode']
  if (typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && !/^P\d{4}$/.test(code)) {
    const message = 'message' in thrown ? thrown.message : fields['originalMessage']
    return observed({ code, message: fields['originalMessage'] ?? message })
  }
  for (const name of wrappers) {
    const inner = name === 'cause' && 'cause' in thrown ? thrown.cause : fields[name]
    if (typeof inner === 'object' && inner !== null) return databaseError(inner)
  }
  throw thrown
}
