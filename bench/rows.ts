// The rows of the report: which load, on which peers, against which of them the others are measured.
import type { PeerName } from './peers.ts'
import type { Load } from './pgbench.ts'

export type Row = {
  readonly name: string
  readonly load: Load
  readonly peers: readonly PeerName[]
  /** The first of these that takes part is what the others are divided by. */
  readonly base: readonly PeerName[]
  /** Offered rate as a share of the base's own maximum, found just before; null: as fast as it goes. */
  readonly rateShare: number | null
  /** Also part of `--quick`. */
  readonly quick: boolean
}

/** Accounts of pgbench's tables: 100,000 times their scale. */
export const accountsPerScale = 100_000
/** The same rows on every shard; in the database without shards an ordinary table. */
export const referenceTable = 'bench_rates'
export const referenceRows = 1_000

const protocols = ['simple', 'extended', 'prepared'] as const
const clientCounts = [1, 16, 64, 256, 1_000] as const
/** Above it one worker of Ringfence is compared with two. */
const manyClients = 1_000
const others = ['PostgreSQL', 'PgBouncer', 'pgpool', 'PgDog', 'Odyssey', 'PgCat'] as const
const onePostgres = [...others, 'Ringfence', 'Ringfence, plain'] as const
const quickNames = new Set(['select simple 16', 'select extended 64'])

/** Every row, for tables of that scale. */
export function allRows(scale: number): readonly Row[] {
  const accounts = scale * accountsPerScale
  return [
    ...selectRows(selectOne(accounts)),
    ...otherRows(accounts),
    ...tailRows(selectOne(accounts)),
    ...shardedRows(accounts),
  ]
}

function selectRows(select: string): readonly Row[] {
  return protocols.flatMap((protocol) =>
    clientCounts.map((clients) => {
      const name = `select ${protocol} ${clients}`
      const load = { ...plain, protocol, clients, script: { text: select } }
      const peers: PeerName[] = [...onePostgres]
      if (protocol === 'simple') peers.push('Ringfence, auto-prepare')
      if (clients >= manyClients) peers.push('Ringfence, 2 workers')
      return { ...standard, name, load, peers, quick: quickNames.has(name) }
    }),
  )
}

/** Other work than single reads as fast as they go. */
function otherRows(accounts: number): readonly Row[] {
  const select = selectOne(accounts)
  return [
    {
      ...standard,
      name: 'tpcb-like simple 16',
      load: { ...plain, script: { builtin: 'tpcb-like' } },
      quick: true,
    },
    {
      ...standard,
      name: '1,000 rows simple 16',
      load: { ...plain, script: { text: selectThousand(accounts) } },
      quick: true,
    },
    {
      ...standard,
      name: 'connect per transaction 16',
      load: { ...plain, script: { text: select }, reconnects: true },
      peers: [...onePostgres, 'Ringfence, 2 workers'],
    },
    // TLS between client and proxy: the servers have none, so that both proxies do the same work.
    ...(['simple', 'prepared'] as const).map((protocol) => ({
      ...standard,
      name: `TLS select ${protocol} 64`,
      load: { ...plain, protocol, clients: 64, script: { text: select }, tls: true },
      peers: ['PgBouncer', 'Ringfence', 'Ringfence, plain'] as const,
      base: proxies,
    })),
    ...(['simple', 'prepared'] as const).map((protocol) => ({
      ...standard,
      name: `offered rate 70 % ${protocol} 64`,
      load: { ...plain, protocol, clients: 64, script: { text: select } },
      // PostgreSQL's own maximum would be more than any proxy's.
      base: proxies,
      rateShare: 0.7,
    })),
  ]
}

function tailRows(select: string): readonly Row[] {
  const load = { ...plain, clients: 34, uncountedClients: 2, script: { text: slowBeside(select) } }
  return [
    { ...standard, name: '32 fast beside 2 slow', load, quick: true },
    {
      ...standard,
      name: '32 fast beside 2 slow prepared',
      load: { ...load, protocol: 'prepared' },
    },
  ]
}

/** What sharding costs: the same statements before one server and before several. */
function shardedRows(accounts: number): readonly Row[] {
  const of = (name: string, text: string, protocol: Load['protocol']): Row => ({
    ...standard,
    name: `sharded ${name} ${protocol} 16`,
    load: { ...plain, protocol, script: { text } },
    peers: ['Ringfence', 'Ringfence, sharded'],
    base: ['Ringfence'],
  })
  return [
    of('key', selectOne(accounts), 'simple'),
    { ...of('key', selectOne(accounts), 'prepared'), quick: true },
    of('scatter', selectSeveral(accounts), 'simple'),
    of('scatter', selectSeveral(accounts), 'prepared'),
    { ...of('write everywhere', writeEverywhere(), 'simple'), quick: true },
  ]
}

/** Rows before a primary and replicas that are late, for tables of that scale. */
export function replicaRows(scale: number): readonly Row[] {
  const accounts = scale * accountsPerScale
  const levels = {
    peers: ['Ringfence, strong', 'Ringfence, eventual', 'Ringfence, session'],
    base: ['Ringfence, eventual'],
  } as const
  const ids = {
    peers: ['Ringfence, session', 'Ringfence, session ids'],
    base: ['Ringfence, session'],
  } as const
  const reads = { text: selectOne(accounts) }
  const readsAs = { text: selectOne(accounts, forWhom) }
  const mixed = { text: mostlyReads(accounts, '') }
  const mixedAs = { text: mostlyReads(accounts, forWhom) }
  const one = { ...plain, clients: 1 }
  const four = { ...plain, clients: 4 }
  const of = (name: string, peers: Pick<Row, 'peers' | 'base'>, load: Load) => {
    return { ...standard, ...peers, name: `replicas, ${name}`, load }
  }
  return [
    { ...of('reads simple 1', levels, { ...one, script: reads }), quick: true },
    of('reads simple 16', levels, { ...plain, script: reads }),
    of('reads prepared 16', levels, { ...plain, protocol: 'prepared', script: reads }),
    { ...of('5 % writes simple 16', levels, { ...plain, script: mixed }), quick: true },
    { ...of('session id, reads simple 1', ids, { ...one, script: readsAs }), quick: true },
    // Added time is what counts: at the maximum of either it would be time in queues.
    {
      ...of('session id, reads at 20 % simple 4', ids, { ...four, script: readsAs }),
      rateShare: 0.2,
    },
    {
      ...of('session id, 5 % writes at 20 % simple 4', ids, { ...four, script: mixedAs }),
      rateShare: 0.2,
    },
  ]
}

/** A session id for every client, or a comment as long; `tag` is the peer's, and only simple queries keep it. */
const forWhom = ' /* :tag:client_id */'

const plain: Omit<Load, 'script'> = {
  protocol: 'simple',
  clients: 16,
  uncountedClients: 0,
  reconnects: false,
  tls: false,
}

/** Where PostgreSQL itself can be no base. */
const proxies = ['PgBouncer', 'Ringfence'] as const

const standard: Omit<Row, 'name' | 'load'> = {
  peers: onePostgres,
  base: ['PgBouncer', 'PostgreSQL', 'Ringfence'],
  rateShare: null,
  quick: false,
}

/** pgbench's own select-only script; without its look at pgbench_branches for the scale. */
function selectOne(accounts: number, comment = ''): string {
  return `\\set aid random(1, ${accounts})
SELECT abalance FROM pgbench_accounts WHERE aid = :aid${comment};
`
}

/** Of each client every twentieth transaction is a write. */
function mostlyReads(accounts: number, comment: string): string {
  return `\\set dice random(1, 20)
\\set aid random(1, ${accounts})
\\if :dice = 1
UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid${comment};
\\else
SELECT abalance FROM pgbench_accounts WHERE aid = :aid${comment};
\\endif
`
}

function selectThousand(accounts: number): string {
  return `\\set aid random(1, ${accounts - 999})
SELECT aid, bid, abalance, filler FROM pgbench_accounts WHERE aid BETWEEN :aid AND :aid + 999;
`
}

/** Accounts of any shards. */
function selectSeveral(accounts: number): string {
  return `\\set one random(1, ${accounts})
\\set two random(1, ${accounts})
\\set three random(1, ${accounts})
SELECT aid, abalance FROM pgbench_accounts WHERE aid IN (:one, :two, :three);
`
}

/** One row that every shard has: two phases. */
function writeEverywhere(): string {
  return `\\set id random(1, ${referenceRows})
UPDATE ${referenceTable} SET value = value + 1 WHERE id = :id;
`
}

/** The first two clients hold a server for 50 ms at a time. */
function slowBeside(select: string): string {
  return `\\if :client_id < 2
SELECT pg_sleep(0.05);
\\else
${select}\\endif
`
}
