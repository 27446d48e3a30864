// `ringfence bench`: clients that run statements as fast as they are answered, and what that comes to. Any PostgreSQL will
// do: a proxy, a server behind it, a server without one, so that they can be compared.
import { Client, DatabaseError, escapeIdentifier } from 'pg'
import { withClient } from '../demo/sql.ts'
import { LatencyHistogram } from './bench/latency.ts'
import { type BenchStatement, keyValueWorkload, ownWorkload } from './bench/workload.ts'
import { CommandFailure } from './load-config.ts'
import { onStopSignals } from './stop-signals.ts'
import { renderTable } from './table.ts'

export type BenchOptions = {
  readonly clients: number
  readonly durationMs: number
  /** Statements to run in turn, `:n` being a random number; empty: rows of a key-value table. */
  readonly sql: readonly string[]
  /** `:n` is from 1 to this. */
  readonly rows: number
  /** Of 100 key-value statements. */
  readonly writes: number
  /** Key column of the key-value table: a proxy shards it by that name. */
  readonly key: string
  readonly protocol: 'simple' | 'prepared'
  /** Whether the key-value table is kept. */
  readonly keep: boolean
  readonly json: boolean
}

/** What `--json` prints; times in milliseconds. */
type BenchReport = {
  readonly clients: number
  readonly seconds: number
  readonly statements: number
  readonly perSecond: number
  readonly latency: Readonly<Record<'mean' | 'p50' | 'p95' | 'p99' | 'max', number>>
  /** By SQLSTATE; empty for a connection that was lost. */
  readonly errors: Readonly<Record<string, number>>
}

/** Of the key-value workload. */
const tableName = 'ringfence_bench'
const insertersMax = 8

/** Prints throughput and latencies. Exit code 0, 1 when a statement failed. */
export async function benchCommand(
  url: string,
  options: BenchOptions,
  out: (text: string) => void,
): Promise<number> {
  const own = options.sql.length > 0
  const workload = own
    ? ownWorkload(options.sql, options.protocol)
    : keyValueWorkload({ ...options, table: tableName })
  if (!own) await fillTable(url, options)
  try {
    const report = await run(url, workload, options)
    if (options.json) out(`${JSON.stringify(report)}\n`)
    else printReport(report, out)
    return Object.keys(report.errors).length === 0 ? 0 : 1
  } finally {
    if (!own && !options.keep) {
      await withClient(url, (client) => client.query(`DROP TABLE IF EXISTS ${tableName}`))
    }
  }
}

/** One row at a time: through a proxy each goes to its own shard. */
async function fillTable(url: string, { rows, key, clients }: BenchOptions): Promise<void> {
  const column = escapeIdentifier(key)
  await withClient(url, async (client) => {
    await client.query(`DROP TABLE IF EXISTS ${tableName}`)
    const columns = `${column} bigint PRIMARY KEY, value text NOT NULL`
    await client.query(`CREATE TABLE ${tableName} (${columns})`)
  })
  const inserters = Array.from({ length: Math.min(clients, insertersMax, rows) }, (_, at) => at)
  await Promise.all(
    inserters.map((first) =>
      withClient(url, async (client) => {
        for (let row = first + 1; row <= rows; row += inserters.length) {
          await client.query({
            name: 'fill',
            text: `INSERT INTO ${tableName} (${column}, value) VALUES ($1, $2)`,
            values: [row, `value ${row}`],
          })
        }
      }),
    ),
  )
}

async function run(
  url: string,
  workload: readonly BenchStatement[],
  options: BenchOptions,
): Promise<BenchReport> {
  const latencies = new LatencyHistogram()
  const errors = new Map<string, number>()
  const connected = await connectAll(url, options.clients)
  const stopping = new AbortController()
  using _stopping = onStopSignals(() => stopping.abort())
  const startMs = performance.now()
  const endMs = startMs + options.durationMs
  const drive = async (client: Client, number: number) => {
    for (let turn = number; performance.now() < endMs && !stopping.signal.aborted; turn += 1) {
      const statement = workload[turn % workload.length]
      if (statement === undefined) return
      const beginMs = performance.now()
      try {
        await client.query(statement(1 + Math.floor(Math.random() * options.rows)))
        latencies.add(performance.now() - beginMs)
      } catch (thrown) {
        const code = thrown instanceof DatabaseError ? (thrown.code ?? '') : ''
        errors.set(code, (errors.get(code) ?? 0) + 1)
        // Without its connection a client has nothing more to do.
        if (code === '') return
      }
    }
  }
  try {
    await Promise.all(connected.map(drive))
  } finally {
    // What was measured stands, however the connections end.
    await Promise.all(connected.map((client) => client.end().catch(() => undefined)))
  }
  const seconds = (performance.now() - startMs) / 1_000
  return {
    clients: options.clients,
    seconds,
    statements: latencies.count,
    perSecond: latencies.count / seconds,
    latency: {
      mean: latencies.mean,
      p50: latencies.quantile(0.5),
      p95: latencies.quantile(0.95),
      p99: latencies.quantile(0.99),
      max: latencies.max,
    },
    errors: Object.fromEntries(errors),
  }
}

/** All or none. @throws CommandFailure when one cannot connect */
async function connectAll(url: string, count: number): Promise<readonly Client[]> {
  const clients = Array.from({ length: count }, () => {
    const client = new Client({ connectionString: url, connectionTimeoutMillis: 10_000 })
    client.on('error', () => undefined)
    return client
  })
  const settled = await Promise.allSettled(clients.map((client) => client.connect()))
  const failed = settled.find((each) => each.status === 'rejected')
  if (failed === undefined) return clients
  // Some never connected; the first refusal is what is told.
  await Promise.all(clients.map((client) => client.end().catch(() => undefined)))
  const reason: unknown = failed.reason
  const text = reason instanceof Error ? reason.message : String(reason)
  throw new CommandFailure(`not all ${count} clients could connect: ${text}`, { cause: reason })
}

function printReport(report: BenchReport, out: (text: string) => void): void {
  const { clients, seconds, statements, perSecond, latency, errors } = report
  const { mean, p50, p95, p99, max } = latency
  const times = [mean, p50, p95, p99, max].map((ms) => ms.toFixed(2))
  const head = [
    'clients',
    'seconds',
    'statements',
    'per second',
    'mean ms',
    'p50',
    'p95',
    'p99',
    'max',
  ]
  const counts = [`${clients}`, seconds.toFixed(1), `${statements}`, perSecond.toFixed(0)]
  out(renderTable(head, [[...counts, ...times]]))
  for (const [code, count] of Object.entries(errors)) {
    out(`${count} statements failed with ${code === '' ? 'a lost connection' : code}\n`)
  }
}
