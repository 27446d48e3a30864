// The numbered SQL migrations of this program, and which of them a database has. A migration that was published
// never changes: its checksum is kept with it, over the text as it stands in the file.
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import type { Client } from 'pg'
import { assert } from '../core/assert.ts'
import { CatalogError } from './catalog-error.ts'
import { inTransaction } from './in-transaction.ts'

/** `home`: the catalog, on the home shard; `shard`: on every shard. */
type MigrationScope = 'home' | 'shard'

export type Migration = {
  readonly scope: MigrationScope
  readonly number: number
  /** Such as `shard/001-vnode`. */
  readonly name: string
  readonly checksum: string
  readonly sql: string
}

const scopes: readonly MigrationScope[] = ['home', 'shard']
const fileName = /^(\d{3})-([a-z0-9-]+)\.sql$/

const bookkeeping = `
  CREATE SCHEMA IF NOT EXISTS ringfence;
  CREATE TABLE ringfence.migration (
    scope text NOT NULL CHECK (scope IN ('home', 'shard')),
    number integer NOT NULL CHECK (number > 0),
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, number)
  );
  GRANT USAGE ON SCHEMA ringfence TO PUBLIC;
  GRANT SELECT ON ringfence.migration TO PUBLIC`

/** All migrations, by scope and number; numbers run from 1 without a gap. */
export async function readMigrations(): Promise<readonly Migration[]> {
  const migrations: Migration[] = []
  for (const scope of scopes) {
    const folder = new URL(`./migrations/${scope}/`, import.meta.url)
    const files = (await readdir(folder)).filter((file) => fileName.test(file)).sort()
    for (const [index, file] of files.entries()) {
      const number = Number(fileName.exec(file)?.[1])
      assert(number === index + 1, `migration ${scope}/${file} has the next number`)
      const sql = await readFile(new URL(file, folder), 'utf8')
      const checksum = createHash('sha256').update(sql).digest('hex')
      migrations.push({ scope, number, name: `${scope}/${file.slice(0, -4)}`, checksum, sql })
    }
  }
  return migrations
}

/**
 * Those of `migrations` that the database lacks, in order. @throws CatalogError when it has one that this program does not
 * know, or one with another text.
 */
export async function missingMigrations(
  client: Client,
  shard: string,
  migrations: readonly Migration[],
): Promise<readonly Migration[]> {
  const found = await client.query<{ present: boolean }>(
    `SELECT to_regclass('ringfence.migration') IS NOT NULL AS present`,
  )
  if (found.rows[0]?.present !== true) return migrations
  const { rows } = await client.query<{
    scope: string
    number: number
    name: string
    checksum: string
  }>('SELECT scope, number, name, checksum FROM ringfence.migration ORDER BY scope, number')
  for (const row of rows) {
    const known = migrations.find(
      ({ scope, number }) => scope === row.scope && number === row.number,
    )
    if (known === undefined) {
      throw new CatalogError(
        `shard "${shard}" has migration "${row.name}", which this version does not know`,
        'Run the version of ringfence that the catalog was last upgraded with, or a newer one.',
      )
    }
    if (known.checksum !== row.checksum) {
      throw new CatalogError(
        `migration "${known.name}" differs from the text that was applied to shard "${shard}"`,
        'Restore the published file: a change of the catalog is a new migration.',
      )
    }
  }
  const applied = new Set(rows.map((row) => `${row.scope} ${row.number}`))
  return migrations.filter(({ scope, number }) => !applied.has(`${scope} ${number}`))
}

/** Applies one migration and records it, in one transaction; `variables` fill its `${…}`. */
export async function applyMigration(
  client: Client,
  migration: Migration,
  variables: Readonly<Record<string, number>>,
): Promise<void> {
  const sql = migration.sql.replaceAll(/\$\{(\w+)\}/g, (_, name: string) => {
    const value = variables[name]
    assert(value !== undefined, `migration ${migration.name} uses a known variable, not ${name}`)
    return String(value)
  })
  await inTransaction(client, async () => {
    const found = await client.query<{ present: boolean }>(
      `SELECT to_regclass('ringfence.migration') IS NOT NULL AS present`,
    )
    if (found.rows[0]?.present !== true) await client.query(bookkeeping)
    await client.query(sql)
    await client.query(
      'INSERT INTO ringfence.migration (scope, number, name, checksum) VALUES ($1, $2, $3, $4)',
      [migration.scope, migration.number, migration.name, migration.checksum],
    )
  })
}
