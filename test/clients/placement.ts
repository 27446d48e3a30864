// Where the rows came to lie, asked of the shards themselves behind the proxy's back: a proxy that sent
// everything to one shard would answer every client right and still be none.
import { Client } from 'pg'

/** What one shard holds of the tables that every program makes. */
export type ShardContent = {
  /** Keys of the tenants whose rows are here, by sharded table. */
  readonly tenants: Readonly<Record<string, readonly string[]>>
  /** The whole reference table. */
  readonly products: readonly unknown[]
  /** Rows of each table that has no tenant_id, the reference table left out. */
  readonly homeRows: Readonly<Record<string, number>>
  /** Definitions of indexes and constraints of the sharded and reference tables. */
  readonly definitions: readonly string[]
}

const shardedTables = ['tenants', 'users', 'orders', 'samples'] as const

/** Reads one shard as its superuser. */
export async function contentOf(shardUrl: string): Promise<ShardContent> {
  const client = new Client({ connectionString: shardUrl })
  await client.connect()
  const firsts = async (sql: string): Promise<string[]> => {
    const { rows } = await client.query<string[]>({ text: sql, rowMode: 'array' })
    return rows.map(([first]) => first ?? '')
  }
  try {
    const tenants: Record<string, string[]> = {}
    for (const table of shardedTables) {
      const keys = `SELECT DISTINCT tenant_id::text FROM ${table} ORDER BY 1`
      tenants[table] = await firsts(keys)
    }
    const homeRows: Record<string, number> = {}
    for (const table of await firsts(homeTablesSql)) {
      const [count] = await firsts(`SELECT count(*) FROM ${table}`)
      homeRows[table] = Number(count)
    }
    const { rows: products } = await client.query('SELECT * FROM products ORDER BY id')
    return { tenants, products, homeRows, definitions: await firsts(definitionsSql) }
  } finally {
    await client.end()
  }
}

const userTables = `c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'ringfence')`

const homeTablesSql = `SELECT format('%I.%I', n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE ${userTables} AND c.relname <> 'products' AND NOT EXISTS (
    SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id')
  ORDER BY 1`

const definitionsSql = `SELECT pg_get_indexdef(indexrelid) FROM pg_index
    WHERE indrelid::regclass::text IN ('tenants', 'users', 'orders', 'samples', 'products')
  UNION ALL SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
    FROM pg_constraint WHERE contype <> 'n'
      AND conrelid::regclass::text IN ('tenants', 'users', 'orders', 'samples', 'products')
  ORDER BY 1`
