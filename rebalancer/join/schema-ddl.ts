// The schema of a shard as statements, and the making of what another shard lacks of it. pg_dump is
// not on every machine, and its text cannot be compared part by part.
//
// Statements are grouped so that nearly every one finds what it needs; one that does not is tried
// again after the next group. Between the groups `before` and `after` the rows of reference tables
// are copied: no trigger, no view and no foreign key is there yet, and indexes are built once.
import type { Client } from 'pg'
import { codeParts, homeOnlySql, viewParts } from './code-parts.ts'
import { rightParts } from './right-parts.ts'
import { columnParts, constraintParts, foreignKeyParts, tableParts } from './table-parts.ts'
import { functionParts, typeParts } from './type-parts.ts'
import { uncopiedSql } from './uncopied.ts'

/** An object, or something that is set on one. */
export type SchemaPart = {
  /** Such as `table`, `constraint`, `column setting`; with the name it is unique. */
  readonly kind: string
  readonly name: string
  readonly sql: string
}

export type ShardSchema = {
  /** Up to the rows of tables. */
  readonly before: readonly SchemaPart[]
  readonly after: readonly SchemaPart[]
  /** Comments, rights, owners: not compared, and not missed where a role is not there. */
  readonly rights: readonly SchemaPart[]
  /** What cannot be copied. */
  readonly uncopied: readonly Pick<SchemaPart, 'kind' | 'name'>[]
  /** Materialized views and what reads them: on the home shard alone. */
  readonly homeOnly: readonly string[]
}

/** What could not be made, and why. */
export type FailedPart = { readonly part: SchemaPart; readonly reason: string }

const beforeRows = [...typeParts, ...tableParts, ...functionParts, ...columnParts]
const afterRows = [...constraintParts, ...viewParts, ...foreignKeyParts, ...codeParts]

/**
 * Reads all of it; `client` has search_path = pg_catalog, and is in a transaction of one snapshot.
 */
export async function readSchema(client: Client): Promise<ShardSchema> {
  const read = async (queries: readonly string[]) => {
    const found: SchemaPart[] = []
    for (const sql of queries) found.push(...(await client.query<SchemaPart>(sql)).rows)
    return found
  }
  const uncopied = await client.query<Pick<SchemaPart, 'kind' | 'name'>>(uncopiedSql)
  const homeOnly = await client.query<{ name: string }>(homeOnlySql)
  return {
    before: await read(beforeRows),
    after: await read(afterRows),
    rights: await read(rightParts),
    uncopied: uncopied.rows,
    homeOnly: homeOnly.rows.map(({ name }) => name),
  }
}

/** What has to be done on a shard so that it has `wanted`, and what is in the way. */
export type SchemaPlan = {
  readonly before: readonly SchemaPart[]
  readonly after: readonly SchemaPart[]
  readonly rights: readonly SchemaPart[]
  /** One sentence each. */
  readonly problems: readonly string[]
}

/** Kinds of which a shard may have more than the home shard. */
const mayBeMore = new Set(['schema', 'extension', 'statistics', 'index', 'index setting'])

/**
 * Compares part by part. Numbers of sequences differ between shards: each counts in steps of its
 * own.
 */
export function planSchema(wanted: ShardSchema, present: ShardSchema, shard: string): SchemaPlan {
  const problems: string[] = []
  const keyOf = ({ kind, name }: Pick<SchemaPart, 'kind' | 'name'>) => `${kind} ${name}`
  const there = new Map([...present.before, ...present.after].map((part) => [keyOf(part), part]))
  const uncopied = new Set(present.uncopied.map(keyOf))
  for (const part of wanted.uncopied) {
    if (uncopied.has(keyOf(part))) continue
    problems.push(
      `${keyOf(part)} is not copied: create it on "${shard}" and run the same command again`,
    )
  }
  const lacking = (parts: readonly SchemaPart[]) =>
    parts.filter((part) => {
      const found = there.get(keyOf(part))
      if (found === undefined) return true
      if (unnumbered(found.sql) !== unnumbered(part.sql)) {
        problems.push(
          `${keyOf(part)} on "${shard}" differs from the home shard's: ` +
            'make them the same, or remove it there',
        )
      }
      return false
    })
  const before = lacking(wanted.before)
  const after = lacking(wanted.after)
  const known = new Set([...wanted.before, ...wanted.after].map(keyOf))
  for (const [key, { kind }] of there) {
    if (known.has(key) || mayBeMore.has(kind)) continue
    problems.push(`${key} is on "${shard}" but not on the home shard: remove it there`)
  }
  return { before, after, rights: wanted.rights, problems }
}

/**
 * Makes `parts` in order, in the transaction that is open. Those that fail are tried again as long
 * as others succeed; gives those that never did. The transaction stays usable.
 */
export async function createParts(
  client: Client,
  parts: readonly SchemaPart[],
): Promise<readonly FailedPart[]> {
  await client.query('SET LOCAL check_function_bodies = off; SET LOCAL client_min_messages = error')
  let open: readonly SchemaPart[] = parts
  for (;;) {
    const failed: FailedPart[] = []
    for (const part of open) {
      const reason = await attempt(client, part.sql)
      if (reason !== null) failed.push({ part, reason })
    }
    if (failed.length === 0 || failed.length === open.length) return failed
    open = failed.map(({ part }) => part)
  }
}

/**
 * Runs a statement inside of the transaction that is open. Gives why it failed, and null when it
 * did not.
 */
export async function attempt(client: Client, sql: string): Promise<string | null> {
  await client.query('SAVEPOINT ringfence_part')
  try {
    await client.query(`${sql}\n; RELEASE ringfence_part`)
    return null
  } catch (error) {
    // Of a connection that is gone this fails, too: that is what the caller is told.
    await client.query('ROLLBACK TO ringfence_part; RELEASE ringfence_part')
    return error instanceof Error ? error.message : String(error)
  }
}

function unnumbered(sql: string): string {
  return sql.replaceAll(
    /INCREMENT BY -?\d+ MINVALUE -?\d+ MAXVALUE -?\d+ START WITH -?\d+ CACHE \d+(?: CYCLE)?/g,
    '',
  )
}
