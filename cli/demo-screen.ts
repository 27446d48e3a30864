// What a person sees once the demo is ready: where to connect and what to try next.
import type { DemoReady } from './demo.ts'
import { renderTable } from './table.ts'

/** The screen's text. */
export function demoScreen(ready: DemoReady): string {
  const rows = ready.shards.flatMap(({ id, primary, replicas }) => [
    [id, 'primary', primary],
    ...replicas.map((replica) => [id, 'replica', replica]),
  ])
  return `
Ringfence is ready: ${ready.shards.length} shards behind one PostgreSQL.

  psql ${ready.proxy}

Try next:
  SELECT * FROM tenants WHERE tenant_id = 1;                    one shard
  EXPLAIN (ROUTE) SELECT * FROM orders WHERE tenant_id = 1;     how it gets there
  SELECT name FROM tenants;                                     every shard
  psql ${ready.admin} -c 'SHOW POOLS'      the admin console
  curl ${ready.http}/metrics                              metrics

${renderTable(['shard', 'role', 'server'], rows)}
Configuration: ${ready.config}
Redis: ${ready.redis}
Ctrl-C stops everything.
`
}
