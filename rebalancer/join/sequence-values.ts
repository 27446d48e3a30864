// Where the sequences of a shard that joins begin. Rows that were numbered before the cluster had
// strides may bear any number up to the home shard's last one: the new shard goes on behind it, in
// its own stride.
import { type Client, escapeIdentifier } from 'pg'
import { ofExtension, userSchema } from './catalog-sql.ts'

const sequencesSql = `SELECT n.nspname AS schema, c.relname AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND ${userSchema}
    AND NOT ${ofExtension('pg_class', 'c.oid')}
  ORDER BY c.oid`

/** Gives every sequence of `target` the value that `home`'s has now. */
export async function carrySequences(home: Client, target: Client): Promise<void> {
  const { rows } = await home.query<{ schema: string; name: string }>(sequencesSql)
  for (const { schema, name } of rows) {
    const sequence = `${escapeIdentifier(schema)}.${escapeIdentifier(name)}`
    const at = await home.query<{ value: string; called: boolean }>(
      `SELECT last_value::text AS value, is_called AS called FROM ${sequence}`,
    )
    const { value, called } = at.rows[0] ?? {}
    await target.query('SELECT setval($1::regclass, $2::bigint, $3)', [sequence, value, called])
  }
}
