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

const protocols = ['simple', 'extended', 'prepared'] as const
const clientCounts = [1, 16, 64, 256] as const
const onePostgres = ['PostgreSQL', 'PgBouncer', 'Ringfence'] as const
const quickNames = new Set(['select simple 16', 'select extended 64'])

/** Every row, for tables of that scale. */
export function allRows(scale: number): readonly Row[] {
  const accounts = scale * accountsPerScale
  const select = selectOne(accounts)
  const selects = protocols.flatMap((protocol) =>
    clientCounts.map((clients) => {
      const name = `select ${protocol} ${clients}`
      const load = { ...plain, protocol, clients, script: { text: select } }
      return { ...standard, name, load, quick: quickNames.has(name) }
    }),
  )
  return [
    ...selects,
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
    },
    {
      ...standard,
      name: 'offered rate 70 % simple 64',
      load: { ...plain, clients: 64, script: { text: select } },
      // PostgreSQL's own maximum would be more than any proxy's.
      base: ['PgBouncer', 'Ringfence'],
      rateShare: 0.7,
    },
    {
      ...standard,
      name: '32 fast beside 2 slow',
      load: { ...plain, clients: 34, uncountedClients: 2, script: { text: slowBeside(select) } },
      quick: true,
    },
    ...(['simple', 'prepared'] as const).map((protocol) => ({
      ...standard,
      name: `sharded key ${protocol} 16`,
      load: { ...plain, protocol, script: { text: select } },
      peers: ['Ringfence', 'Ringfence, sharded'] as const,
      base: ['Ringfence'] as const,
      quick: protocol === 'prepared',
    })),
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
}

const standard: Omit<Row, 'name' | 'load'> = {
  peers: onePostgres,
  base: ['PgBouncer', 'PostgreSQL'],
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

/** The first two clients hold a server for 50 ms at a time. */
function slowBeside(select: string): string {
  return `\\if :client_id < 2
SELECT pg_sleep(0.05);
\\else
${select}\\endif
`
}
