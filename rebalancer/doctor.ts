// Looks for what moves may have left behind, on every shard and in the catalog, and for what keeps the next one from going
// on. Finds only; `mend` removes what belongs to moves that have ended. Rows are never removed here.
import { type Client, escapeIdentifier } from 'pg'
import { moveLock } from '../catalog/connection.ts'
import { dropFence, fenceTriggers } from '../catalog/fence.ts'
import { hasEnded, isFenced } from '../catalog/move-state.ts'
import { listMoves, type Move } from '../catalog/move-store.ts'
import { listProxies, silentMs } from '../catalog/proxy-registry.ts'
import { readTopology } from '../catalog/topology-query.ts'
import { systemClock } from '../core/clock.ts'
import type { ShardId } from '../core/ids.ts'
import { movedSetSql } from '../router/moved-set.ts'
import type { Topology } from '../router/topology.ts'
import { openShard } from './copy/connection.ts'
import { dropStream, forgetMove, setIdentity } from './move-objects.ts'
import { type MoverDatabase, openCatalog } from './run-move.ts'
import { primaryUrl } from './shard-address.ts'
import { readMovedTables } from './tables.ts'
import { strangers } from './strangers.ts'

/** One thing that is not as it should be. */
type Finding = {
  /** Shard, or `catalog`. */
  readonly where: string
  readonly what: string
  readonly remedy: string
  /** Removed by `--fix`. */
  readonly fixable: boolean
}

type Found = Finding & { readonly mend?: (client: Client) => Promise<void> }

export type DoctorOptions = {
  readonly database: MoverDatabase
  readonly fix: boolean
  /** Also counts rows on shards that do not own them: reads all sharded tables. */
  readonly rows: boolean
  readonly signal: AbortSignal
}

export type Diagnosis = {
  readonly findings: readonly Finding[]
  readonly fixed: readonly Finding[]
}

const movesMax = 10_000
const liftTimeoutMs = 10_000
const objectName = /^ringfence_move_[0-9a-f]{8}_(\d+)_(forward|reverse)$/

/** @throws what pg throws when a shard cannot be reached: nothing can be said then */
export async function examine(options: DoctorOptions): Promise<Diagnosis> {
  const { database, fix, signal } = options
  const catalog = await openCatalog(database)
  try {
    const moves = await listMoves(catalog.client, { limit: movesMax })
    const topology = await readTopology(catalog.client, [...database.shards.keys()])
    const inCatalog = await ofCatalog(catalog.client, moves, topology)
    const findings: Finding[] = []
    const fixed: Finding[] = []
    await settle(inCatalog, catalog.client, fix, { findings, fixed })
    for (const [shard, address] of database.shards) {
      await using connection = await openShard(await primaryUrl(address), signal)
      const { client } = connection
      const found = [
        ...(await streams(client, shard, moves)),
        ...(await fences(client, shard, moves)),
        ...(await remains(client, shard, moves)),
        ...(await identities(client, shard, moves)),
        ...(options.rows ? await rowsOfOthers(client, shard, topology, database) : []),
      ]
      await settle(found, client, fix, { findings, fixed })
    }
    return { findings, fixed }
  } finally {
    await catalog.end()
  }
}

async function settle(
  found: readonly Found[],
  client: Client,
  fix: boolean,
  into: { readonly findings: Finding[]; readonly fixed: Finding[] },
): Promise<void> {
  for (const { mend, ...finding } of found) {
    if (!fix || mend === undefined) into.findings.push(finding)
    else {
      await mend(client)
      into.fixed.push(finding)
    }
  }
}

async function ofCatalog(
  client: Client,
  moves: readonly Move[],
  { epoch }: Topology,
): Promise<readonly Found[]> {
  const found: Found[] = []
  const where = 'catalog'
  for (const proxy of await listProxies(client)) {
    const seconds = Math.round(proxy.silentMs / 1_000)
    if (proxy.silentMs > silentMs) {
      found.push({
        where,
        what: `proxy "${proxy.id}" at ${proxy.address} has been silent for ${seconds} s`,
        remedy: `start it, or if it is gone for good: ringfence rebalance doctor --forget-proxy '${proxy.id}'`,
        fixable: false,
      })
    } else if (proxy.epochSeen < epoch) {
      found.push({
        where,
        what: `proxy "${proxy.id}" at ${proxy.address} is at epoch ${proxy.epochSeen}, the catalog at ${epoch}`,
        remedy: 'wait; if it stays so, see its log: a shard may be missing in its configuration',
        fixable: false,
      })
    }
  }
  for (const move of moves.filter(({ state }) => !hasEnded(state) && state !== 'planned')) {
    const { rows } = await client.query<{ free: boolean }>(
      `SELECT pg_try_advisory_lock(${moveLock(move.id)}) AS free`,
    )
    if (rows[0]?.free !== true) continue
    await client.query(`SELECT pg_advisory_unlock(${moveLock(move.id)})`)
    found.push({
      where,
      what: `move ${move.id} (${move.from} → ${move.to}) is ${move.state} and nobody runs it`,
      remedy: 'ringfence rebalance resume',
      fixable: false,
    })
  }
  const ended = moves.filter(({ state }) => hasEnded(state)).map(({ id }) => id)
  const { rows } = await client.query<{ count: number }>(
    'SELECT count(*)::int AS count FROM ringfence.vnode WHERE move_id = ANY ($1::bigint[])',
    [ended],
  )
  const count = rows[0]?.count ?? 0
  if (count > 0) {
    found.push({
      where,
      what: `${count} virtual nodes are reserved for moves that have ended`,
      remedy: 'ringfence rebalance doctor --fix',
      fixable: true,
      mend: async (mending) => {
        await mending.query(
          'UPDATE ringfence.vnode SET move_id = NULL WHERE move_id = ANY ($1::bigint[])',
          [ended],
        )
      },
    })
  }
  return found
}

/** Slots and publications of moves that do not need them. */
async function streams(
  client: Client,
  shard: ShardId,
  moves: readonly Move[],
): Promise<readonly Found[]> {
  const { rows } = await client.query<{ name: string; slot: boolean }>(
    `SELECT slot_name::text AS name, true AS slot FROM pg_replication_slots
     WHERE database = current_database() AND slot_name ~ '^ringfence_move_'
     UNION ALL SELECT pubname::text, false FROM pg_publication WHERE pubname ~ '^ringfence_move_'`,
  )
  return rows.flatMap(({ name, slot }) => {
    const [, id, direction] = objectName.exec(name) ?? []
    const move = moves.find((each) => String(each.id) === id)
    const owner = direction === 'forward' ? move?.from : move?.to
    if (move !== undefined && !hasEnded(move.state) && owner === shard) return []
    return {
      where: shard,
      what: `${slot ? 'replication slot' : 'publication'} "${name}" belongs to no move under way`,
      remedy: 'ringfence rebalance doctor --fix',
      fixable: true,
      mend: (mending: Client) => dropStream(mending, name),
    }
  })
}

async function fences(
  client: Client,
  shard: ShardId,
  moves: readonly Move[],
): Promise<readonly Found[]> {
  const found: Found[] = []
  for (const { named, name, enabled } of await fenceTriggers(client)) {
    const id = Number(/^ringfence_fence_(\d+)_/.exec(name)?.[1])
    const move = moves.find((each) => each.id === id)
    if (move !== undefined && mayBeFenced(move, shard, enabled)) continue
    found.push({
      where: shard,
      what: `trigger "${name}" on ${named} ${enabled ? 'rejects writes for' : 'belongs to'} no move under way`,
      remedy: 'ringfence rebalance doctor --fix',
      fixable: true,
      mend: (mending) =>
        dropFence(mending, {
          moveId: id,
          timeoutMs: liftTimeoutMs,
          now: () => systemClock.nowMs(),
        }),
    })
  }
  return found
}

/** The source from the switch on, both while a fence is up, and whoever is being cleaned; what is lifted stays to the end. */
function mayBeFenced({ state, from, to }: Move, shard: ShardId, enabled: boolean): boolean {
  if (hasEnded(state) || (shard !== from && shard !== to)) return false
  if (!enabled) return true
  return isFenced(state) || ['switched', 'completing', 'aborting'].includes(state)
}

/** Positions and replication origins of moves that have ended. */
async function remains(
  client: Client,
  shard: ShardId,
  moves: readonly Move[],
): Promise<readonly Found[]> {
  const { rows } = await client.query<{ cluster: string; id: string }>(
    `WITH own AS (SELECT left(replace(cluster::text, '-', ''), 8) AS cluster FROM ringfence.local_shard)
     SELECT cluster, move_id::text AS id FROM ringfence.move_progress, own
     UNION SELECT cluster, substring(roname FROM '_([0-9]+)_[a-z]+$') FROM pg_replication_origin, own
           WHERE roname ~ ('^ringfence_move_' || cluster || '_[0-9]+_(forward|reverse)$')`,
  )
  return rows.flatMap(({ cluster, id }) => {
    const move = moves.find((each) => String(each.id) === id)
    if (move !== undefined && !hasEnded(move.state)) return []
    return {
      where: shard,
      what: `positions of move ${id}, which has ended`,
      remedy: 'ringfence rebalance doctor --fix',
      fixable: true,
      mend: (mending: Client) => forgetMove(mending, { cluster, id: Number(id) }),
    }
  })
}

async function identities(
  client: Client,
  shard: ShardId,
  moves: readonly Move[],
): Promise<readonly Found[]> {
  const needed = moves.some(
    ({ state, from, to }) =>
      !hasEnded(state) && state !== 'planned' && (from === shard || to === shard),
  )
  if (needed) return []
  const were = new Map<string, string>()
  for (const { progress } of moves) {
    for (const [name, identity] of Object.entries(progress.identities ?? {})) {
      if (name.startsWith(`${shard} `)) were.set(name.slice(shard.length + 1), identity)
    }
  }
  const found: Found[] = []
  for (const [table, identity] of were) {
    const { rows } = await client.query<{ full: boolean }>(
      `SELECT relreplident = 'f' AS full FROM pg_class WHERE oid = to_regclass($1)`,
      [table],
    )
    if (rows[0]?.full !== true) continue
    found.push({
      where: shard,
      what: `table ${table} has REPLICA IDENTITY FULL since a move; it was ${identity} before`,
      remedy: 'ringfence rebalance doctor --fix',
      fixable: true,
      mend: (mending) => setIdentity(mending, table, identity),
    })
  }
  return found
}

/** Rows that a shard has without owning them, and that no move under way accounts for. */
async function rowsOfOthers(
  client: Client,
  shard: ShardId,
  topology: Topology,
  { rules }: MoverDatabase,
): Promise<readonly Found[]> {
  const found: Found[] = []
  for (const table of await readMovedTables(client, rules)) {
    const column = escapeIdentifier(table.key)
    const predicate = movedSetSql(strangers(topology, shard, rules), column, rules.keyType)
    const hidden = (topology.hidden.get(shard) ?? []).map(
      (set) => `NOT ${movedSetSql(set, column, rules.keyType)}`,
    )
    const { rows } = await client.query<{ count: string }>(
      `SELECT count(*) AS count FROM ${escapeIdentifier(table.schema)}.${escapeIdentifier(table.name)}
       WHERE ${[predicate, ...hidden].join(' AND ')}`,
    )
    const count = Number(rows[0]?.count ?? 0)
    if (count === 0) continue
    found.push({
      where: shard,
      what: `${count} rows of ${table.schema}.${table.name} belong to other shards`,
      remedy: `compare them with their owners', then delete those of no use; nothing that goes through the proxy sees them by key`,
      fixable: false,
    })
  }
  return found
}
