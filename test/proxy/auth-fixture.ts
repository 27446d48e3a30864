// Roles of a test's own on the shared servers, and logins that tell how they ended.
import { randomBytes } from 'node:crypto'
import { Client } from 'pg'
import type { AuthOptions } from '../../proxy/login-policy.ts'
import type { Place } from '../support/stack.ts'

/** How a login ended: who the server says that one is, or the SQLSTATE. */
export type Outcome =
  | { readonly user: string }
  | { readonly code: string; readonly message: string }

/** Failed logins cost nothing, nobody is looked up. */
export const plainAuth: AuthOptions = {
  hbaFile: null,
  file: null,
  query: null,
  failures: { max: 0, windowMs: 60_000, delayMs: 100, delayMsMax: 5_000 },
}

/** A name that no other test has. */
export function uniqueName(prefix: string): string {
  return `${prefix}_${randomBytes(4).toString('hex')}`
}

/** First column of the rows of `sql`, run there. */
export async function runOn(place: Place | string, sql: string): Promise<(string | null)[]> {
  const client = new Client(typeof place === 'string' ? { connectionString: place } : place)
  client.on('error', () => undefined)
  await client.connect()
  try {
    const answer = await client.query<(string | null)[]>({ text: sql, rowMode: 'array' })
    return [answer].flat().flatMap(({ rows }) => rows.map(([value]) => value ?? null))
  } finally {
    await client.end()
  }
}

/** Logs in, asks who it is, and leaves. */
export async function logIn(place: Place): Promise<Outcome> {
  const client = new Client(place)
  client.on('error', () => undefined)
  try {
    await client.connect()
    const { rows } = await client.query<{ user: string }>('SELECT session_user::text AS user')
    return { user: rows[0]?.user ?? '' }
  } catch (error) {
    const known: { readonly code?: unknown; readonly message?: unknown } = Object(error)
    return { code: String(known.code), message: String(known.message) }
  } finally {
    await client.end().catch(() => undefined)
  }
}
