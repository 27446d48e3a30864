// `ringfence topology show|history|export`: what the catalog on the home shard says of shards, virtual nodes, pins and
// moves, each command by one statement and so of one instant.
import type { Client } from 'pg'
import { chooseDatabase } from './choose-database.ts'
import { withCatalog } from './home-catalog.ts'
import { readConfig } from './load-config.ts'
import { renderTable } from './table.ts'
import { formatVnodes } from '../core/vnode-ranges.ts'

export type TopologyOptions = {
  readonly config: string
  readonly database?: string
  readonly json: boolean
}

type Shard = {
  readonly id: string
  readonly ordinal: number
  readonly weight: number
  readonly state: string
  readonly vnodes: readonly number[]
}
type Move = {
  readonly id: number
  readonly from: string
  readonly to: string
  readonly state: string
  readonly wish: string | null
  readonly vnodes: readonly number[]
  readonly keys: readonly string[]
  readonly error: string | null
}
type Pin = { readonly key: string; readonly shard: string }
type ProxyRow = { readonly id: string; readonly address: string; readonly version: string }
type Snapshot = {
  readonly epoch: number
  readonly cluster: string
  readonly keyType: string
  readonly vnodeCount: number
  readonly shards: readonly Shard[]
  readonly moves: readonly Move[]
  readonly pins: readonly Pin[]
  readonly proxies: readonly (ProxyRow & { epochSeen: number; heartbeat: string })[]
}

/** A shard beside its fair share of the virtual nodes. */
type ShownShard = Omit<Shard, 'vnodes'> & {
  readonly vnodes: number
  /** Of all virtual nodes, 0 to 1. */
  readonly share: number
  readonly fairShare: number
  readonly pins: number
  /** Ids of moves from and to it. */
  readonly moves: readonly number[]
}

const pinsShownMax = 50

/** Prints shards, moves and pins. Exit code 0. */
export async function topologyShowCommand(
  options: TopologyOptions,
  out: (text: string) => void,
): Promise<number> {
  const { database, found } = await read(options, readSnapshot)
  const { epoch, cluster, keyType, vnodeCount, moves, pins } = found
  const shards = shownShards(found)
  if (options.json) {
    const shownMoves = moves.map((move) => ({ ...move, vnodes: formatVnodes(move.vnodes) }))
    const head = { database, epoch, cluster, keyType, vnodeCount }
    out(`${JSON.stringify({ ...head, shards, moves: shownMoves, pins })}\n`)
    return 0
  }
  out(`database ${database}, epoch ${epoch}, ${vnodeCount} virtual nodes, key ${keyType}\n\n`)
  out(renderTable(shardHead, shards.map(shardCells)))
  if (moves.length > 0) out(`\n${renderTable(moveHead, moves.map(moveCells))}`)
  const rest = pins.length - pinsShownMax
  const rows = pins.slice(0, pinsShownMax).map(({ key, shard }) => [key, shard])
  if (pins.length > 0) out(`\n${renderTable(['pinned key', 'shard'], rows)}`)
  if (rest > 0) out(`and ${rest} pinned keys more: see "ringfence topology export"\n`)
  return 0
}

/** Prints everything that the catalog holds as JSON. Exit code 0. */
export async function topologyExportCommand(
  options: Omit<TopologyOptions, 'json'>,
  out: (text: string) => void,
): Promise<number> {
  const { database, found } = await read(options, readSnapshot)
  const compressed = <T extends { readonly vnodes: readonly number[] }>(each: T) => {
    return { ...each, vnodes: formatVnodes(each.vnodes) }
  }
  const { shards, moves, ...rest } = found
  const everything = { ...rest, shards: shards.map(compressed), moves: moves.map(compressed) }
  out(`${JSON.stringify({ database, ...everything }, null, 2)}\n`)
  return 0
}

/** Prints the changes that the last epochs made, newest first. Exit code 0. */
export async function topologyHistoryCommand(
  options: TopologyOptions & { readonly last: number },
  out: (text: string) => void,
): Promise<number> {
  const { database, found } = await read(options, async (client) => {
    return (await client.query<Change>(historySql, [options.last])).rows
  })
  if (options.json) {
    out(`${JSON.stringify({ database, changes: found })}\n`)
    return 0
  }
  if (found.length === 0) out('nothing has changed since the cluster was made\n')
  else out(renderTable(['epoch', 'at', 'what'], found.map(changeCells)))
  return 0
}

async function read<T>(
  options: Omit<TopologyOptions, 'json'>,
  ask: (client: Client) => Promise<T>,
): Promise<{ readonly database: string; readonly found: T }> {
  const config = await readConfig(options.config)
  const database = chooseDatabase(config.databases, options.database)
  return { database: database.name, found: await withCatalog(config, database, ask) }
}

async function readSnapshot(client: Client): Promise<Snapshot> {
  const { rows } = await client.query<{ snapshot: Snapshot }>(snapshotSql)
  const snapshot = rows[0]?.snapshot
  if (snapshot === undefined) throw new Error('the catalog has no topology')
  return snapshot
}

function shownShards({ shards, moves, pins, vnodeCount }: Snapshot): ShownShard[] {
  const giving = shards.filter(({ state }) => state === 'draining').map(({ id }) => id)
  const weightOf = ({ id, weight }: Shard) => (giving.includes(id) ? 0 : weight)
  const total = shards.reduce((sum, shard) => sum + weightOf(shard), 0)
  return shards.map((shard) => ({
    ...shard,
    vnodes: shard.vnodes.length,
    share: shard.vnodes.length / vnodeCount,
    fairShare: total === 0 ? 0 : weightOf(shard) / total,
    pins: pins.filter((pin) => pin.shard === shard.id).length,
    moves: moves.filter(({ from, to }) => from === shard.id || to === shard.id).map(({ id }) => id),
  }))
}

const shardHead = ['shard', 'state', 'weight', 'vnodes', 'share', 'fair', 'pins', 'moves']

function shardCells(shard: ShownShard): string[] {
  const { id, ordinal, state, weight, vnodes, share, fairShare, pins, moves } = shard
  const name = ordinal === 0 ? `${id} (home)` : id
  const shares = [percent(share), percent(fairShare)]
  return [name, state, `${weight}`, `${vnodes}`, ...shares, `${pins}`, moves.join(', ')]
}

const moveHead = ['move', 'state', 'from', 'to', 'vnodes', 'keys', 'error']

function moveCells({ id, state, wish, from, to, vnodes, keys, error }: Move): string[] {
  const wanted = wish === null ? state : `${state} (${wish} wanted)`
  return [`${id}`, wanted, from, to, `${vnodes.length}`, `${keys.length}`, error ?? '']
}

type Change = {
  readonly epoch: number
  readonly at: string
  readonly what: string
  readonly detail: unknown
}

function changeCells({ epoch, at, what }: Change): string[] {
  return [`${epoch}`, at, what]
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}

const historySql = `
  SELECT epoch::int, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at, what, detail
  FROM ringfence.topology_history ORDER BY 1 DESC LIMIT $1`

const snapshotSql = `
  SELECT json_build_object(
    'epoch', t.epoch, 'cluster', t.cluster, 'keyType', t.key_type, 'vnodeCount', 1 << t.vnode_bits,
    'shards', (
      SELECT json_agg(json_build_object(
        'id', s.id, 'ordinal', s.ordinal, 'weight', s.weight, 'state', s.state,
        'vnodes', (SELECT coalesce(json_agg(v.vnode ORDER BY v.vnode), '[]')
                   FROM ringfence.vnode v WHERE v.shard = s.id)) ORDER BY s.ordinal)
      FROM ringfence.shard s),
    'moves', (
      SELECT coalesce(json_agg(json_build_object(
        'id', m.id, 'from', m.from_shard, 'to', m.to_shard, 'state', m.state, 'wish', m.wish,
        'vnodes', m.vnodes, 'keys', m.keys, 'error', m.error) ORDER BY m.id), '[]')
      FROM ringfence.move m WHERE m.state NOT IN ('done', 'aborted')),
    'pins', (
      SELECT coalesce(json_agg(json_build_object('key', p.key, 'shard', p.shard) ORDER BY p.key), '[]')
      FROM ringfence.pin p),
    'proxies', (
      SELECT coalesce(json_agg(json_build_object(
        'id', x.id, 'address', x.address, 'version', x.version, 'epochSeen', x.epoch_seen,
        'heartbeat', x.heartbeat) ORDER BY x.id), '[]')
      FROM ringfence.proxy x)) AS snapshot
  FROM ringfence.topology t`
