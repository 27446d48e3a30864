// Shards that join and leave, in the catalog: each change is one transaction with its epoch,
// history and notification.
//
//   (not there) → joining → active ⇄ draining → (not there)
//       ↑____________|         |________________↑
//
// While one is joining, proxies hold what goes to every shard; taking it out again lets them go on.
import type { Client } from 'pg'
import { assert } from '../core/assert.ts'
import { type Epoch, type ShardId, shardId } from '../core/ids.ts'
import { CatalogError } from './catalog-error.ts'
import { advisoryLocks, openCatalogConnection } from './connection.ts'
import { publish } from './move-store.ts'
import { readEpoch } from './topology-query.ts'
import { inTransaction } from './in-transaction.ts'

type ShardState = 'joining' | 'active' | 'draining'

/** A shard as the catalog has it. */
export type CatalogShard = {
  readonly id: ShardId
  /** 0: the home shard. */
  readonly ordinal: number
  readonly weight: number
  readonly state: ShardState
  readonly vnodes: number
  readonly pins: number
  /** Moves from or to it that have not ended. */
  readonly moves: readonly number[]
}

/** What a shard's own database says of itself; null when it says nothing. */
export type LocalShard = {
  readonly cluster: string
  readonly id: string
  readonly ordinal: number
} | null

/** Sequences step by 1,024, one residue per ordinal. */
const ordinalsMax = 1024
const queryTimeoutMs = 15_000

const shardsSql = `
  SELECT s.id, s.ordinal, s.weight, s.state,
         (SELECT count(*)::int FROM ringfence.vnode v WHERE v.shard = s.id) AS vnodes,
         (SELECT count(*)::int FROM ringfence.pin p WHERE p.shard = s.id) AS pins,
         ARRAY(SELECT m.id::int FROM ringfence.move m
               WHERE s.id IN (m.from_shard, m.to_shard) AND m.state NOT IN ('done', 'aborted')
               ORDER BY m.id) AS moves
  FROM ringfence.shard s ORDER BY s.ordinal`

/** All shards in the order of their ordinals. */
export async function listShards(home: Client): Promise<readonly CatalogShard[]> {
  const { rows } = await home.query<Omit<CatalogShard, 'id'> & { id: string }>(shardsSql)
  return rows.map(({ id, ...rest }) => ({ ...rest, id: shardId(id) }))
}

/**
 * Ids of the shards that the catalog at `url` has; null where there is no catalog yet. @throws what
 * pg throws
 */
export async function registeredShards(url: string): Promise<ReadonlySet<string> | null> {
  const { client, end } = await openCatalogConnection(url, queryTimeoutMs)
  try {
    const { rows: found } = await client.query<{ present: boolean }>(
      `SELECT to_regclass('ringfence.shard') IS NOT NULL AS present`,
    )
    if (found[0]?.present !== true) return null
    const { rows } = await client.query<{ id: string }>('SELECT id FROM ringfence.shard')
    // A run of init that was cut short has placed nothing.
    return rows.length === 0 ? null : new Set(rows.map(({ id }) => id))
  } finally {
    await end()
  }
}

/** Identity of the cluster. @throws CatalogError when init has not been run */
export async function readCluster(home: Client): Promise<string> {
  const { rows } = await home.query<{ cluster: string }>('SELECT cluster FROM ringfence.topology')
  const row = rows[0]
  if (row === undefined) throw new CatalogError('the catalog is empty', 'Run "ringfence init".')
  return row.cluster
}

/** What the database at `client` is registered as. */
export async function readLocalShard(client: Client): Promise<LocalShard> {
  const { rows: found } = await client.query<{ present: boolean }>(
    `SELECT to_regclass('ringfence.local_shard') IS NOT NULL AS present`,
  )
  if (found[0]?.present !== true) return null
  const { rows } = await client.query<{ cluster: string; id: string; ordinal: number }>(
    'SELECT cluster, id, ordinal FROM ringfence.local_shard',
  )
  return rows[0] ?? null
}

/**
 * One who changes the set of shards at a time, init included; held until the session ends. @throws
 * CatalogError
 */
export async function lockShards(home: Client): Promise<void> {
  const { rows } = await home.query<{ won: boolean }>(
    `SELECT pg_try_advisory_lock(${advisoryLocks.initialise}) AS won`,
  )
  if (rows[0]?.won === true) return
  throw new CatalogError(
    'another "ringfence init" or "ringfence shard" command is running',
    'Wait for its end; only one may change the shards at a time.',
  )
}

/**
 * Registers a shard that is about to join, or finds it registered by a run that was cut short.
 * `ordinal`: the one that its database has from an earlier time in this cluster; it gets that again
 * unless another shard has it.
 */
export async function beginJoin(
  home: Client,
  shard: { readonly id: ShardId; readonly weight: number; readonly ordinal: number | null },
): Promise<{ readonly epoch: Epoch; readonly ordinal: number }> {
  return await changing(home, async (shards) => {
    const known = shards.find(({ id }) => id === shard.id)
    if (known !== undefined) {
      if (known.state !== 'joining')
        throw new CatalogError(`shard "${shard.id}" has joined already`)
      return { epoch: await readEpoch(home), ordinal: known.ordinal }
    }
    await refuseDuringMoves(home)
    const taken = shards.some(({ ordinal }) => ordinal === shard.ordinal)
    const ordinal = shard.ordinal === null || taken ? await nextOrdinal(home) : shard.ordinal
    await home.query(
      'UPDATE ringfence.topology SET next_ordinal = $1 + 1 WHERE next_ordinal <= $1',
      [ordinal],
    )
    await home.query(
      `INSERT INTO ringfence.shard (id, ordinal, weight, state) VALUES ($1, $2, $3, 'joining')`,
      [shard.id, ordinal, shard.weight],
    )
    await publish(home, `shard ${shard.id} joining`, { shard: shard.id })
    return { epoch: await readEpoch(home), ordinal }
  })
}

/** The shard has schema and reference tables: from this epoch on it belongs to the cluster. */
export async function finishJoin(home: Client, id: ShardId): Promise<Epoch> {
  return await changing(home, async () => {
    const { rowCount } = await home.query(
      `UPDATE ringfence.shard SET state = 'active' WHERE id = $1 AND state = 'joining'`,
      [id],
    )
    if (rowCount !== 1) throw new CatalogError(`shard "${id}" is not joining any more`)
    await publish(home, `shard ${id} active`, { shard: id })
    return await readEpoch(home)
  })
}

/**
 * Takes a shard out that has not joined; null when it is not joining. Its number was never used, so
 * it is free again.
 */
export async function withdrawJoin(home: Client, id: ShardId): Promise<Epoch | null> {
  return await changing(home, async () => {
    const { rows } = await home.query<{ ordinal: number }>(
      `DELETE FROM ringfence.shard WHERE id = $1 AND state = 'joining' RETURNING ordinal`,
      [id],
    )
    const row = rows[0]
    if (row === undefined) return null
    await home.query(
      'UPDATE ringfence.topology SET next_ordinal = $1 WHERE next_ordinal = $1 + 1',
      [row.ordinal],
    )
    await publish(home, `shard ${id} did not join`, { shard: id })
    return await readEpoch(home)
  })
}

/** Marks a shard as one that gives everything away, or takes that back. Null: it was so already. */
export async function setDraining(
  home: Client,
  id: ShardId,
  draining: boolean,
): Promise<Epoch | null> {
  return await changing(home, async (shards) => {
    const shard = knownShard(shards, id)
    const wanted = draining ? 'draining' : 'active'
    if (shard.state === 'joining') throw new CatalogError(`shard "${id}" has not joined yet`)
    if (shard.state === wanted) return null
    const others = shards.filter((each) => each.id !== id && each.state === 'active')
    if (draining && others.length === 0) {
      throw new CatalogError(
        `no other shard is active, so nothing could go from "${id}"`,
        'Add a shard first: ringfence shard add <shard>',
      )
    }
    await home.query('UPDATE ringfence.shard SET state = $2 WHERE id = $1', [id, wanted])
    await publish(home, `shard ${id} ${draining ? 'draining' : 'not draining any more'}`, {
      shard: id,
    })
    return await readEpoch(home)
  })
}

/** Everything that keeps a shard from being taken out, one sentence each. */
export function removalProblems(shard: CatalogShard): readonly string[] {
  const { id, ordinal, vnodes, pins, moves } = shard
  const problems: string[] = []
  if (ordinal === 0) problems.push(`shard "${id}" is the home shard: it holds the catalog`)
  if (vnodes > 0) problems.push(`shard "${id}" owns ${vnodes} virtual nodes`)
  if (pins > 0) problems.push(`shard "${id}" owns ${pins} pinned keys`)
  if (moves.length > 0) problems.push(`shard "${id}" is part of move ${moves.join(', ')}`)
  return problems
}

/**
 * Takes a shard out of the catalog that nothing lives on. @throws CatalogError naming all that does
 */
export async function removeShard(home: Client, id: ShardId): Promise<Epoch> {
  return await changing(home, async (shards) => {
    const problems = removalProblems(knownShard(shards, id))
    if (problems.length > 0) throw new CatalogError(problems.join('\n'))
    await home.query('DELETE FROM ringfence.read_floor WHERE shard = $1', [id])
    await home.query('DELETE FROM ringfence.shard WHERE id = $1', [id])
    await publish(home, `shard ${id} removed`, { shard: id })
    return await readEpoch(home)
  })
}

/** The shard of that name. @throws CatalogError listing what there is */
export function knownShard(shards: readonly CatalogShard[], id: ShardId): CatalogShard {
  const shard = shards.find((each) => each.id === id)
  if (shard !== undefined) return shard
  const ids = shards.map((each) => each.id).join(', ')
  throw new CatalogError(`the catalog has no shard "${id}"; it has ${ids}`)
}

/** Other changes of the topology wait: they lock the same row. */
async function changing<T>(
  home: Client,
  change: (shards: readonly CatalogShard[]) => Promise<T>,
): Promise<T> {
  return await inTransaction(home, async () => {
    await home.query('SELECT epoch FROM ringfence.topology FOR UPDATE')
    return await change(await listShards(home))
  })
}

/**
 * The mover's triggers and replica identities are on the tables meanwhile: they would be copied.
 */
async function refuseDuringMoves(home: Client): Promise<void> {
  const { rows } = await home.query<{ ids: string }>(
    `SELECT string_agg(id::text, ', ' ORDER BY id) AS ids FROM ringfence.move
     WHERE state NOT IN ('planned', 'done', 'aborted')`,
  )
  const ids = rows[0]?.ids ?? null
  if (ids === null) return
  throw new CatalogError(
    `virtual nodes are on the move (move ${ids})`,
    'Wait until the move has ended: ringfence rebalance status',
  )
}

async function nextOrdinal(home: Client): Promise<number> {
  const { rows } = await home.query<{ ordinal: number }>(
    `UPDATE ringfence.topology SET next_ordinal = next_ordinal + 1
     RETURNING next_ordinal - 1 AS ordinal`,
  )
  const ordinal = rows[0]?.ordinal
  assert(ordinal !== undefined, 'the topology has a row')
  if (ordinal >= ordinalsMax) {
    throw new CatalogError(`a cluster can register ${ordinalsMax} shards in its life`)
  }
  return ordinal
}
