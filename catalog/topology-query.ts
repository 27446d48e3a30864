// Reads the topology out of the catalog, in one statement and so of one instant.
import type { Client } from 'pg'
import { epoch, type Epoch, type ShardId, shardId, vnode } from '../core/ids.ts'
import { parseLsn } from '../core/lsn.ts'
import type { Position } from '../core/position.ts'
import { type MovedSet, setMembership } from '../router/moved-set.ts'
import type { MovePhase, Topology, TopologyMove } from '../router/topology.ts'
import { CatalogError } from './catalog-error.ts'
import { isFenced, isSwitched, type MoveState } from './move-state.ts'

type Row = {
  epoch: string
  vnode_bits: number
  ids: string[]
  /** With those that are about to join. */
  registered: string[]
  joining: boolean
  owners: number[] | null
  pins: { key: string; shard: string }[] | null
  moves: MoveRow[] | null
  floors: { shard: string; system_id: string; timeline: number; lsn: string }[] | null
}

type MoveRow = {
  id: number
  state: MoveState
  from_shard: string
  to_shard: string
  vnodes: number[]
  keys: string[]
  except_keys: string[]
}

/** Version of the topology in force. @throws CatalogError when init has not been run. */
export async function readEpoch(client: Client): Promise<Epoch> {
  const { rows } = await client.query<{ epoch: string }>('SELECT epoch FROM ringfence.topology')
  const row = rows[0]
  if (row === undefined) throw new CatalogError('the catalog is empty')
  return epoch(Number(row.epoch))
}

const topologySql = `
  SELECT t.epoch, t.vnode_bits,
    (SELECT array_agg(id ORDER BY ordinal) FROM ringfence.shard WHERE state <> 'joining') AS ids,
    (SELECT array_agg(id ORDER BY ordinal) FROM ringfence.shard) AS registered,
    EXISTS (SELECT FROM ringfence.shard WHERE state = 'joining') AS joining,
    (SELECT array_agg(o.number ORDER BY v.vnode)
     FROM ringfence.vnode v
     JOIN (SELECT id, row_number() OVER (ORDER BY ordinal)::int - 1 AS number
           FROM ringfence.shard WHERE state <> 'joining') o ON o.id = v.shard) AS owners,
    (SELECT json_agg(p) FROM ringfence.pin p) AS pins,
    (SELECT json_agg(m ORDER BY m.id)
     FROM (SELECT id, state, from_shard, to_shard, vnodes, keys, except_keys FROM ringfence.move
           WHERE state NOT IN ('planned', 'done', 'aborted')) m) AS moves,
    (SELECT json_agg(f) FROM ringfence.read_floor f) AS floors
  FROM ringfence.topology t`

/**
 * The topology over `shards`, in their order. @throws CatalogError when the catalog has a shard that is not among them,
 * also one that owns nothing yet: what goes to every shard would miss it. And pg's error when there is no catalog.
 */
export async function readTopology(client: Client, shards: readonly ShardId[]): Promise<Topology> {
  const { rows } = await client.query<Row>(topologySql)
  const row = rows[0]
  if (row === undefined || row.owners?.length !== 2 ** row.vnode_bits) {
    throw new CatalogError('the catalog does not name an owner for every virtual node')
  }
  const present = shards.filter((shard) => row.ids.includes(shard))
  const known = (id: string): ShardId => {
    const shard = present.find((each) => each === id)
    if (shard !== undefined) return shard
    throw strangerError(id, 'has virtual nodes')
  }
  const places = row.ids.map((id) => present.findIndex((shard) => shard === id))
  const owners = Uint16Array.from(row.owners, (owner) => {
    const place = places[owner] ?? -1
    return place >= 0 ? place : present.indexOf(known(row.ids[owner] ?? ''))
  })
  const stranger = row.registered.find((id) => !shards.some((shard) => shard === id))
  if (stranger !== undefined) throw strangerError(stranger, 'is in the catalog')
  const moves = (row.moves ?? []).map((move) => moveOf(move, known))
  return {
    epoch: epoch(Number(row.epoch)),
    shards: present,
    owners,
    moves,
    pins: new Map((row.pins ?? []).map(({ key, shard }) => [key, known(shard)])),
    hidden: hiddenOf(moves),
    floors: floorsOf(row.floors ?? []),
    joining: row.joining,
  }
}

function strangerError(id: string, what: string): CatalogError {
  return new CatalogError(
    `shard "${id}" ${what} but is not in the configuration`,
    'Add it to the configuration of this proxy and reload it.',
  )
}

function moveOf(row: MoveRow, known: (id: string) => ShardId): TopologyMove {
  const from = known(row.from_shard)
  const to = known(row.to_shard)
  const set: MovedSet = {
    vnodes: row.vnodes.map((number) => vnode(number)),
    keys: row.keys,
    except: row.except_keys,
  }
  const phase = phaseOf(row.state)
  const serving = isSwitched(row.state) ? to : from
  return { id: row.id, from, to, phase, serving, set, contains: setMembership(set) }
}

function phaseOf(state: MoveState): MovePhase {
  if (isFenced(state)) return 'fenced'
  return isSwitched(state) ? 'switched' : 'moving'
}

/** Whoever does not serve a set has its rows all the same, or some of them. */
function hiddenOf(moves: readonly TopologyMove[]): ReadonlyMap<ShardId, readonly MovedSet[]> {
  const hidden = new Map<ShardId, MovedSet[]>()
  for (const { from, to, serving, set } of moves) {
    const other = serving === from ? to : from
    const sets = hidden.get(other) ?? []
    hidden.set(other, [...sets, set])
  }
  return hidden
}

function floorsOf(rows: NonNullable<Row['floors']>): ReadonlyMap<ShardId, Position> {
  const floors = new Map<ShardId, Position>()
  for (const { shard, system_id: systemId, timeline, lsn: text } of rows) {
    const lsn = parseLsn(text)
    if (lsn !== undefined) floors.set(shardId(shard), { systemId, timeline, lsn })
  }
  return floors
}
