// pg_stat_statements of one database: texts whose constants are $1, $2, …, with calls and server time.
import { type Client, escapeIdentifier } from 'pg'
import { CommandFailure } from '../load-config.ts'
import type { Observation } from './observation.ts'

/** @throws CommandFailure when the extension is missing or not loaded */
export async function statisticsOf(client: Client): Promise<readonly Observation[]> {
  const { rows: extensions } = await client.query<{ schema: string; columns: string[] }>(
    `SELECT n.nspname AS schema, array_agg(a.attname::text) AS columns
     FROM pg_catalog.pg_extension x
     JOIN pg_catalog.pg_namespace n ON n.oid = x.extnamespace
     JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'pg_stat_statements'
     JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
     WHERE x.extname = 'pg_stat_statements' GROUP BY 1`,
  )
  const [extension] = extensions
  if (extension === undefined) {
    const remedy = 'CREATE EXTENSION pg_stat_statements, or name a log or a file of SQL'
    throw new CommandFailure(`the database has no pg_stat_statements: ${remedy}`)
  }
  const { schema, columns } = extension
  // Its names and columns differ by version: total_exec_time from 13 on, toplevel from 14 on.
  const time = columns.includes('total_exec_time') ? 'total_exec_time' : 'total_time'
  const outermost = columns.includes('toplevel') ? 'AND s.toplevel' : ''
  const { rows } = await client.query<{ sql: string; calls: string; ms: number }>(
    `SELECT s.query AS sql, sum(s.calls)::text AS calls, sum(s.${time}) AS ms
     FROM ${escapeIdentifier(schema)}.pg_stat_statements s
     WHERE s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
       AND s.query IS NOT NULL ${outermost}
     GROUP BY 1`,
  )
  return rows.map(({ sql, calls, ms }) => ({ sql, calls: Number(calls), timeMs: ms }))
}
