// The migrations as SQL files, for the clients that have no migration tool: applied in order, each in
// one transaction with its row in a bookkeeping table, as the tools of the ORMs do it.
import { readFile, readdir } from 'node:fs/promises'

const folder = new URL('./sql/', import.meta.url)

/** The bookkeeping table: no tenant_id, so it lives on the home shard. */
export const bookkeepingSql =
  'CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, applied_at timestamptz NOT NULL)'

/** A migration: its file name and its statements, split for clients that send one at a time. */
export type SqlFile = { readonly name: string; readonly statements: readonly string[] }

/** All migrations in the order of their names. */
export async function sqlFiles(): Promise<SqlFile[]> {
  const found = (await readdir(folder)).filter((name) => name.endsWith('.sql')).sort()
  return Promise.all(
    found.map(async (name) => {
      const text = await readFile(new URL(name, folder), 'utf8')
      const statements = text.split(/;\s*$/m).map((part) => part.trim())
      return { name, statements: statements.filter((part) => part !== '') }
    }),
  )
}
