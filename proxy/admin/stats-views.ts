// SHOW STATS, STATS_TOTALS, STATS_AVERAGES, TOTALS: what each database has done since the proxy began, and what it does
// per second. Workers tell their counts and what has been added of late; averages are made of the sums.
import type { Cell, Rows, Snapshot } from '../fleet.ts'
import { columnsOf, type View } from './view.ts'
import type { AdminWorld } from './world.ts'

/** In the order of Traffic.read(), as SHOW STATS, SHOW STATS_TOTALS and SHOW TOTALS call them. */
const counts = [
  { name: 'server_assignment_count', total: 'server_assignment_count', per: 'second' },
  { name: 'xact_count', total: 'xact_count', per: 'second' },
  { name: 'query_count', total: 'query_count', per: 'second' },
  { name: 'received', total: 'bytes_received', per: 'second', avg: 'recv', inner: 'client_bytes' },
  { name: 'sent', total: 'bytes_sent', per: 'second', inner: 'server_bytes' },
  { name: 'xact_time', total: 'xact_time', per: 'xact_count' },
  { name: 'query_time', total: 'query_time', per: 'query_count' },
  { name: 'wait_time', total: 'wait_time', per: 'server_assignment_count' },
  { name: 'client_parse_count', total: 'client_parse_count', per: 'second', prepared: true },
  { name: 'server_parse_count', total: 'server_parse_count', per: 'second', prepared: true },
  { name: 'bind_count', total: 'bind_count', per: 'second', prepared: true },
] as const satisfies readonly {
  readonly name: string
  readonly total: string
  /** What an average is divided by: the time, or how often it happened. */
  readonly per: string
  readonly avg?: string
  readonly inner?: string
  readonly prepared?: boolean
}[]

const size = counts.length

/** By name, lower case. */
export function statsViews(
  world: AdminWorld,
): Readonly<Record<'stats' | 'stats_totals' | 'stats_averages' | 'totals', View>> {
  const local = () => trafficRows(world)
  const view = (columns: string, row: (traffic: Sum) => readonly Cell[]): View => ({
    columns: columnsOf(`database ${columns}`),
    own: [],
    local,
    gather: (snapshots) =>
      [...sumsByDatabase(snapshots)].map(([database, sum]) => [database, ...row(sum)]),
  })
  const numeric = (names: readonly string[]) => names.map((name) => `${name}:numeric`).join(' ')
  const totals = counts.map(({ name }) => `total_${name}`)
  const averages = counts.map((count) => `avg_${'avg' in count ? count.avg : count.name}`)
  return {
    stats: view(numeric([...totals, ...averages]), (sum) => [...sum.totals, ...averagesOf(sum)]),
    stats_totals: view(numeric(counts.map(({ total }) => total)), ({ totals }) => totals),
    // Three of its columns have the prefix that the others lack: so do PgBouncer's.
    stats_averages: view(
      numeric(counts.map((count) => ('prepared' in count ? `avg_${count.name}` : count.total))),
      averagesOf,
    ),
    totals: {
      columns: columnsOf('name value:numeric'),
      own: [],
      local,
      gather: (snapshots) => totalRows([...sumsByDatabase(snapshots).values()]),
    },
  }
}

/** What one database has counted, in all workers: since the beginning, and of late. */
type Sum = {
  readonly totals: readonly number[]
  readonly grown: readonly number[]
  /** How long "of late" is. */
  readonly ms: number
}

/** Database, totals, growth, and the time of that. */
function trafficRows({ databases, clock }: AdminWorld): Rows {
  return databases().map(({ options, traffic }) => {
    const { grown, ms } = traffic.recent(clock.nowMs())
    return [options.name, ...traffic.read(), ...grown, ms]
  })
}

function sumsByDatabase(snapshots: readonly Snapshot[]): ReadonlyMap<string, Sum> {
  const sums = new Map<string, Sum>()
  for (const [name, ...cells] of snapshots.flatMap(({ rows }) => rows)) {
    const numbers = cells.map(Number)
    const totals = numbers.slice(0, size)
    const grown = numbers.slice(size, 2 * size)
    const sum = { totals, grown, ms: numbers[2 * size] ?? 0 }
    const known = sums.get(String(name))
    sums.set(String(name), known === undefined ? sum : added(known, sum))
  }
  return sums
}

function added(a: Sum, b: Sum): Sum {
  const add = (one: readonly number[], other: readonly number[]) =>
    one.map((number, at) => number + (other[at] ?? 0))
  return {
    totals: add(a.totals, b.totals),
    grown: add(a.grown, b.grown),
    ms: Math.max(a.ms, b.ms),
  }
}

function averagesOf({ grown, ms }: Sum): readonly number[] {
  return counts.map(({ per }, at) => {
    const sum = grown[at] ?? 0
    const by = per === 'second' ? ms / 1_000 : grown[counts.findIndex(({ name }) => name === per)]
    return by === undefined || by <= 0 ? 0 : Math.floor(sum / by)
  })
}

function totalRows(sums: readonly Sum[]): Rows {
  const zero = counts.map(() => 0)
  const all = sums.reduce(added, { totals: zero, grown: zero, ms: 0 })
  const names = counts.map((count) => {
    const inner = 'inner' in count ? count.inner : count.name
    return 'prepared' in count ? `ps_${inner}` : inner
  })
  const averages = averagesOf(all)
  return [
    ...names.map((name, at): readonly Cell[] => [`total_${name}`, all.totals[at] ?? 0]),
    ...names.map((name, at): readonly Cell[] => [`avg_${name}`, averages[at] ?? 0]),
  ]
}
