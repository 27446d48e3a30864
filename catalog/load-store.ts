// Measured load in the catalog: every proxy adds what it has counted, planning reads rates. A row is a sum that
// halves every `halfLifeS`: before something is added, what is there is brought down to the present. Under a steady
// rate r the sum tends to r × halfLifeS ÷ ln 2, which is how rates are read.
import type { Client } from 'pg'
import { vnode, type Vnode } from '../core/ids.ts'
import { inTransaction } from './in-transaction.ts'

/** What happened on a virtual node since the last report. */
export type VnodeCounts = {
  readonly vnode: Vnode
  readonly statements: number
  readonly serverMs: number
  /** Sent to clients. */
  readonly bytes: number
  readonly rows: number
}

/** The same of one key, written as `keyText` writes it; an estimate. */
export type KeyCounts = {
  readonly key: string
  readonly vnode: Vnode
  readonly statements: number
  readonly serverMs: number
}

/** Each virtual node and each key once. */
export type LoadReport = {
  readonly vnodes: readonly VnodeCounts[]
  readonly keys: readonly KeyCounts[]
}

/** Rates per second: `serverMs` 1000 is one server at work all the time. */
export type MeasuredLoad = LoadReport

/** What half as old counts twice as much as. */
export const loadHalfLifeS = 600
/** Keys that are kept. */
const keysMax = 1_000
/** float8 does not reach below 2^-1074: PostgreSQL raises an error rather than give 0. */
const halvingsMax = 60
const leastCounted = 1e-9

/**
 * Adds a report, wholly or not at all. Rows are locked in one order, so that proxies do not deadlock. `client` logs in
 * as the role that ran init and has search_path = pg_catalog.
 */
export async function writeLoad(
  client: Client,
  report: LoadReport,
  halfLifeS: number = loadHalfLifeS,
): Promise<void> {
  await inTransaction(client, async () => {
    if (report.vnodes.length > 0) await writeVnodes(client, report.vnodes, halfLifeS)
    if (report.keys.length > 0) await writeKeys(client, report.keys, halfLifeS)
  })
}

/** What the cluster's proxies have measured of late, by virtual node and, the hottest first, by key. */
export async function readLoad(
  client: Client,
  halfLifeS: number = loadHalfLifeS,
): Promise<MeasuredLoad> {
  const rate = `${decay('l', 'clock_timestamp()', '$1')} * ln(2::float8) / $1`
  const vnodes = await client.query<Omit<VnodeCounts, 'vnode'> & { vnode: number }>(
    `SELECT l.vnode, l.statements * d.rate AS statements, l.server_ms * d.rate AS "serverMs",
            l.bytes * d.rate AS bytes, l.rows * d.rate AS rows
     FROM ringfence.vnode_load l, LATERAL (SELECT ${rate} AS rate) d ORDER BY l.vnode`,
    [halfLifeS],
  )
  const keys = await client.query<Omit<KeyCounts, 'vnode'> & { vnode: number }>(
    `SELECT l.key, l.vnode, l.statements * d.rate AS statements, l.server_ms * d.rate AS "serverMs"
     FROM ringfence.key_load l, LATERAL (SELECT ${rate} AS rate) d
     ORDER BY l.server_ms * d.rate DESC, l.key`,
    [halfLifeS],
  )
  return {
    vnodes: vnodes.rows.map((row) => ({ ...row, vnode: vnode(row.vnode) })),
    keys: keys.rows.map((row) => ({ ...row, vnode: vnode(row.vnode) })),
  }
}

async function writeVnodes(
  client: Client,
  counts: readonly VnodeCounts[],
  halfLifeS: number,
): Promise<void> {
  const sums = ['statements', 'server_ms', 'bytes', 'rows']
  await client.query(
    `INSERT INTO ringfence.vnode_load AS l (vnode, statements, server_ms, bytes, rows, at)
     SELECT n.vnode, n.statements, n.server_ms, n.bytes, n.rows, clock_timestamp()
     FROM unnest($2::int[], $3::float8[], $4::float8[], $5::float8[], $6::float8[])
       AS n (vnode, statements, server_ms, bytes, rows)
     ORDER BY n.vnode
     ON CONFLICT (vnode) DO UPDATE SET ${added(sums)}`,
    [
      halfLifeS,
      counts.map((each) => each.vnode),
      counts.map((each) => each.statements),
      counts.map((each) => each.serverMs),
      counts.map((each) => each.bytes),
      counts.map((each) => each.rows),
    ],
  )
}

async function writeKeys(
  client: Client,
  counts: readonly KeyCounts[],
  halfLifeS: number,
): Promise<void> {
  await client.query(
    `INSERT INTO ringfence.key_load AS l (key, vnode, statements, server_ms, at)
     SELECT n.key, n.vnode, n.statements, n.server_ms, clock_timestamp()
     FROM unnest($2::text[], $3::int[], $4::float8[], $5::float8[])
       AS n (key, vnode, statements, server_ms)
     ORDER BY n.key COLLATE "C"
     ON CONFLICT (key) DO UPDATE SET ${added(['statements', 'server_ms'])}`,
    [
      halfLifeS,
      counts.map((each) => each.key),
      counts.map((each) => each.vnode),
      counts.map((each) => each.statements),
      counts.map((each) => each.serverMs),
    ],
  )
  // What another proxy is adding to stays for the next time.
  await client.query(
    `DELETE FROM ringfence.key_load WHERE key IN (
       SELECT key FROM ringfence.key_load WHERE key IN (
         SELECT l.key FROM ringfence.key_load l
         ORDER BY l.server_ms * ${decay('l', 'clock_timestamp()', '$1')} DESC, l.key OFFSET $2)
       ORDER BY key FOR UPDATE SKIP LOCKED)`,
    [halfLifeS, keysMax],
  )
}

/** Assignments of ON CONFLICT; `$1` is the half-life. */
function added(sums: readonly string[]): string {
  const since = decay('l', 'excluded.at', '$1')
  const assigned = sums.map((sum) => {
    const left = `CASE WHEN l.${sum} > ${leastCounted} THEN l.${sum} * ${since} ELSE 0 END`
    return `${sum} = ${left} + excluded.${sum}`
  })
  return [...assigned, 'at = greatest(l.at, excluded.at)'].join(', ')
}

/** What is left of a sum as of `row`.at at a later time. */
function decay(row: string, at: string, halfLifeS: string): string {
  const age = `extract(epoch FROM ${at} - ${row}.at)::float8`
  return `power(0.5::float8, least(greatest(${age} / ${halfLifeS}::float8, 0), ${halvingsMax}))`
}
