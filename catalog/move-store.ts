// Moves in the catalog. A state changes by compare-and-set in one transaction with all that it means: owners, pins,
// reservations of virtual nodes, the epoch, its history, and the notification.
import type { Client } from 'pg'
import { assert } from '../core/assert.ts'
import { type ShardId, shardId, vnode, type Vnode } from '../core/ids.ts'
import { formatLsn } from '../core/lsn.ts'
import type { Position } from '../core/position.ts'
import type { MovedSet } from '../router/moved-set.ts'
import { CatalogError } from './catalog-error.ts'
import { hasEnded, mayFollow, type MoveState, type MoveWish } from './move-state.ts'

/** What the runner remembers between its steps; every field is replaced as a whole. */
export type MoveProgress = {
  /** Generation of slot, publication and triggers on the source: their names contain it. */
  readonly slot?: string
  readonly slotLsn?: string
  /** Server that rows are copied to, as "system identifier/timeline". */
  readonly copiedTo?: string
  readonly reverseSlot?: string
  readonly reverseLsn?: string
  /** Tables copied in full, by `schema.name`, and the position of the snapshot that they are of. */
  readonly copied?: Readonly<Record<string, string>>
  readonly rowsCopied?: number
  readonly bytesCopied?: number
  readonly bytesTotal?: number
  /** Tables found equal on both sides. */
  readonly verified?: readonly string[]
  readonly isVerified?: boolean
  readonly rowsVerified?: number
  readonly differences?: readonly unknown[]
  /** All that kept the move from starting. */
  readonly problems?: readonly string[]
  /** Tables whose replica identity was set to FULL for the move, and what it was. */
  readonly identities?: Readonly<Record<string, string>>
  readonly cutoverTries?: number
  /** Wait at the switch, from the fence's publication to the new owner's. */
  readonly heldMs?: number
  /** Begun and fences published at; wall clock of the runner, milliseconds since 1970. */
  readonly begunAt?: number
  readonly fencedAt?: number
  readonly rowsDeleted?: number
  readonly rolledBack?: boolean
  readonly lagBytes?: number
  readonly walRetainedBytes?: number
  readonly waitsFor?: string
}

/** Limits of one move; stored with it, so that whoever resumes it keeps to them. */
export type MoveOptions = {
  readonly workers: number
  readonly bytesPerSecond: number | null
  readonly maxWalRetainedBytes: number
  readonly maxReplicaLagBytes: number | null
  readonly maxLatencyFactor: number | null
  readonly cutoverTimeoutMs: number
  readonly cutoverTries: number
  readonly prepareTimeoutMs: number
  readonly verify: boolean
  /** How long the source's rows are kept after the switch; null = until told to complete. */
  readonly keepSourceMs: number | null
  /** From the start to the switch at most; null = no limit. */
  readonly maxMs: number | null
}

export type Move = {
  readonly id: number
  /** Eight digits of the cluster's identity: moves of two clusters may meet on one server. */
  readonly cluster: string
  readonly set: MovedSet
  readonly from: ShardId
  readonly to: ShardId
  readonly state: MoveState
  readonly wish: MoveWish | null
  readonly options: MoveOptions
  readonly progress: MoveProgress
  readonly error: string | null
  readonly hint: string | null
  readonly createdAt: Date
  readonly changedAt: Date
}

type MoveRow = {
  id: string
  cluster: string
  vnodes: number[]
  keys: string[]
  except_keys: string[]
  from_shard: string
  to_shard: string
  state: MoveState
  wish: MoveWish | null
  options: MoveOptions
  progress: MoveProgress
  error: string | null
  hint: string | null
  created_at: Date
  changed_at: Date
}

const columns = `id, (SELECT left(replace(cluster::text, '-', ''), 8) FROM ringfence.topology) AS cluster, vnodes, keys, except_keys, from_shard, to_shard, state, wish, options, progress,
  error, hint, created_at, changed_at`

/** One move. @throws CatalogError when there is none of that number. */
export async function readMove(client: Client, id: number): Promise<Move> {
  const { rows } = await client.query<MoveRow>(
    `SELECT ${columns} FROM ringfence.move WHERE id = $1`,
    [id],
  )
  const row = rows[0]
  if (row === undefined)
    throw new CatalogError(`there is no move ${id}`, 'See: ringfence rebalance status')
  return moveOf(row)
}

/** Moves in order of their numbers; only those that have not ended, or the newest `limit` of all. */
export async function listMoves(
  client: Client,
  which: { readonly active: true } | { readonly limit: number },
): Promise<readonly Move[]> {
  const { rows } =
    'active' in which
      ? await client.query<MoveRow>(
          `SELECT ${columns} FROM ringfence.move WHERE state NOT IN ('done', 'aborted') ORDER BY id`,
        )
      : await client.query<MoveRow>(
          `SELECT ${columns} FROM (SELECT * FROM ringfence.move ORDER BY id DESC LIMIT $1) m ORDER BY id`,
          [which.limit],
        )
  return rows.map(moveOf)
}

export type NewMove = {
  readonly from: ShardId
  readonly to: ShardId
  readonly vnodes: readonly Vnode[]
  readonly keys: readonly string[]
  readonly options: MoveOptions
}

/** Plans a move: nothing happens until a runner takes it up. */
export async function createMove(client: Client, move: NewMove): Promise<Move> {
  const { rows } = await client.query<MoveRow>(
    `INSERT INTO ringfence.move (from_shard, to_shard, vnodes, keys, except_keys, options)
     VALUES ($1, $2, $3, $4, '{}', $5) RETURNING ${columns}`,
    [move.from, move.to, [...move.vnodes], [...move.keys], move.options],
  )
  const row = rows[0]
  assert(row !== undefined, 'an INSERT gives its row')
  return moveOf(row)
}

export type Transition = {
  readonly next: MoveState
  readonly progress?: MoveProgress
  readonly error?: { readonly message: string; readonly hint: string | null } | null
  /** From here on replicas of `shard` must have this position: rows have come or gone there. */
  readonly floor?: { readonly shard: ShardId; readonly position: Position }
  /** The wish that this carries out. */
  readonly granted?: boolean
}

/**
 * Takes `move` to its next state, with the epoch; undefined when somebody else has taken it elsewhere meanwhile.
 * @throws CatalogError when the virtual nodes are not free or not the source's any more.
 */
export async function advanceMove(
  client: Client,
  move: Move,
  transition: Transition,
): Promise<Move | undefined> {
  const { next, progress = {}, error = null } = transition
  assert(mayFollow(move.state, next), `a move goes from ${move.state} to ${next}`)
  try {
    await client.query('BEGIN; SELECT epoch FROM ringfence.topology FOR UPDATE')
    const { rows } = await client.query<MoveRow>(
      `UPDATE ringfence.move
       SET state = $3, progress = progress || $4::jsonb, error = $5, hint = $6,
           wish = CASE WHEN $7 THEN NULL ELSE wish END, changed_at = clock_timestamp(),
           ended_at = CASE WHEN $8 THEN clock_timestamp() END
       WHERE id = $1 AND state = $2 RETURNING ${columns}`,
      [
        move.id,
        move.state,
        next,
        JSON.stringify(progress),
        error?.message ?? null,
        error?.hint ?? null,
        transition.granted === true,
        hasEnded(next),
      ],
    )
    const row = rows[0]
    if (row === undefined) {
      await client.query('ROLLBACK')
      return undefined
    }
    await carryOut(client, move, next)
    // What reserves also settles which keys stay.
    const after = next === 'preparing' ? await readMove(client, move.id) : moveOf(row)
    if (transition.floor !== undefined) await raiseFloor(client, transition.floor)
    await publish(client, `move ${move.id} ${next}`, {
      move: move.id,
      from: move.from,
      to: move.to,
      vnodes: move.set.vnodes.length,
      keys: move.set.keys.length,
    })
    await client.query('COMMIT')
    return after
  } catch (cause) {
    // A connection that is gone has rolled back by itself.
    await client.query('ROLLBACK').catch(() => undefined)
    throw cause
  }
}

/**
 * Notes progress that changes nothing for proxies. Keeps nothing when the move is in another state by now. Identities are
 * added to those that are there: another move may just have handed some over.
 */
export async function noteProgress(
  client: Client,
  move: Move,
  progress: MoveProgress,
  error?: Transition['error'],
): Promise<Move | undefined> {
  const { rows } = await client.query<MoveRow>(
    `UPDATE ringfence.move
     SET progress = progress || $3::jsonb || CASE WHEN $3::jsonb ? 'identities' THEN
           jsonb_build_object('identities', coalesce(progress -> 'identities', '{}') || ($3::jsonb -> 'identities'))
           ELSE '{}' END,
         changed_at = clock_timestamp(),
         error = CASE WHEN $4 THEN $5 ELSE error END, hint = CASE WHEN $4 THEN $6 ELSE hint END
     WHERE id = $1 AND state = $2 RETURNING ${columns}`,
    [
      move.id,
      move.state,
      JSON.stringify(progress),
      error !== undefined,
      error?.message ?? null,
      error?.hint ?? null,
    ],
  )
  const row = rows[0]
  return row === undefined ? undefined : moveOf(row)
}

/** What an operator wants of a move; null takes the wish back. */
export async function wish(client: Client, id: number, wanted: MoveWish | null): Promise<void> {
  await client.query(
    `UPDATE ringfence.move SET wish = $2 WHERE id = $1 AND state NOT IN ('done', 'aborted')`,
    [id, wanted],
  )
  await client.query('NOTIFY ringfence_move')
}

/** A new epoch, its history and its notification; inside a transaction that holds the topology's row. */
export async function publish(
  client: Client,
  what: string,
  detail: Readonly<Record<string, unknown>>,
): Promise<void> {
  await client.query(
    `WITH next AS (UPDATE ringfence.topology SET epoch = epoch + 1 RETURNING epoch),
     noted AS (INSERT INTO ringfence.topology_history (epoch, what, detail)
               SELECT epoch, $1, $2 FROM next RETURNING epoch)
     SELECT pg_notify('ringfence_topology', '') FROM noted`,
    [what, detail],
  )
}

/** What a state means for owners, pins and reservations. */
async function carryOut(client: Client, move: Move, next: MoveState): Promise<void> {
  if (next === 'preparing') return reserve(client, move)
  if (next === 'switched' && move.state === 'fencing') return giveTo(client, move, move.to)
  if (next === 'aborting' && move.state === 'rolling_back') return giveTo(client, move, move.from)
  if (!hasEnded(next)) return
  await client.query('UPDATE ringfence.vnode SET move_id = NULL WHERE move_id = $1', [move.id])
}

/** What is moved is the source's and on no other move. Keys pinned in its virtual nodes stay where they are. */
async function reserve(client: Client, { id, set, from, to }: Move): Promise<void> {
  const { rowCount: joined } = await client.query(
    `SELECT FROM ringfence.shard WHERE id = $1 AND state <> 'joining'`,
    [to],
  )
  // No proxy could read a topology with a move to it.
  if (joined === 0) {
    throw new CatalogError(`shard "${to}" has not joined`, `Run "ringfence shard add ${to}" first.`)
  }
  const type = await keyTypeOf(client)
  const vnodes = [...set.vnodes]
  const keys = [...set.keys]
  const { rows: strangers } = await client.query<{ what: string; why: string }>(
    `SELECT 'virtual node ' || n.number AS what,
            CASE WHEN v.shard IS DISTINCT FROM $3 THEN 'it is of shard "' || v.shard || '"'
                 ELSE 'it is on move ' || v.move_id END AS why
     FROM unnest($2::int[]) n (number) LEFT JOIN ringfence.vnode v ON v.vnode = n.number
     WHERE v.shard IS DISTINCT FROM $3 OR v.move_id <> $1
     UNION ALL
     SELECT 'key ' || k.key,
            CASE WHEN v.move_id IS NOT NULL THEN 'its virtual node is on move ' || v.move_id
                 ELSE 'it is of shard "' || coalesce(p.shard, v.shard) || '"' END
     FROM unnest($4::text[]) k (key)
     JOIN ringfence.vnode v ON v.vnode = ringfence.vnode(k.key::${type})
     LEFT JOIN ringfence.pin p ON p.key = k.key
     WHERE v.move_id IS NOT NULL OR coalesce(p.shard, v.shard) <> $3
     UNION ALL
     SELECT 'key ' || k.key, 'it is on move ' || m.id
     FROM ringfence.move m, unnest(m.keys) k (key)
     WHERE m.id <> $1 AND m.state NOT IN ('planned', 'done', 'aborted')
       AND (k.key = ANY ($4::text[]) OR ringfence.vnode(k.key::${type}) = ANY ($2::int[]))
     LIMIT 1`,
    [id, vnodes, from, keys],
  )
  const stranger = strangers[0]
  if (stranger !== undefined) {
    throw new CatalogError(
      `${stranger.what} cannot be moved from "${from}": ${stranger.why}`,
      'Plan the move again when that has ended: the topology has changed.',
    )
  }
  await client.query('UPDATE ringfence.vnode SET move_id = $1 WHERE vnode = ANY ($2::int[])', [
    id,
    vnodes,
  ])
  await client.query(
    `UPDATE ringfence.move SET except_keys = ARRAY(
       SELECT key FROM ringfence.pin WHERE ringfence.vnode(key::${type}) = ANY ($2::int[]) ORDER BY key)
     WHERE id = $1`,
    [id, vnodes],
  )
}

async function keyTypeOf(client: Client): Promise<string> {
  const { rows } = await client.query<{ key_type: string }>(
    'SELECT key_type FROM ringfence.topology',
  )
  return rows[0]?.key_type ?? 'text'
}

/** Owner of virtual nodes; keys are pinned, or follow their virtual node again when it is on the same shard. */
async function giveTo(client: Client, { set }: Move, shard: ShardId): Promise<void> {
  await client.query('UPDATE ringfence.vnode SET shard = $2 WHERE vnode = ANY ($1::int[])', [
    [...set.vnodes],
    shard,
  ])
  if (set.keys.length === 0) return
  const keys = [...set.keys]
  await client.query(
    `INSERT INTO ringfence.pin (key, shard) SELECT unnest($1::text[]), $2
     ON CONFLICT (key) DO UPDATE SET shard = excluded.shard`,
    [keys, shard],
  )
  await client.query(
    `DELETE FROM ringfence.pin p USING ringfence.vnode v
     WHERE p.key = ANY ($1::text[]) AND v.shard = p.shard
       AND v.vnode = ringfence.vnode(p.key::${await keyTypeOf(client)})`,
    [keys],
  )
}

/** Never back: another move may have put it further up since the position was read. */
async function raiseFloor(
  client: Client,
  { shard, position }: NonNullable<Transition['floor']>,
): Promise<void> {
  await client.query(
    `INSERT INTO ringfence.read_floor AS f (shard, system_id, timeline, lsn)
     VALUES ($1, $2, $3, $4)
     ON CONFLICT (shard) DO UPDATE
       SET system_id = excluded.system_id, timeline = excluded.timeline, lsn = excluded.lsn
       WHERE f.system_id <> excluded.system_id
          OR (f.timeline, f.lsn) < (excluded.timeline, excluded.lsn)`,
    [shard, position.systemId, position.timeline, formatLsn(position.lsn)],
  )
}

function moveOf(row: MoveRow): Move {
  return {
    id: Number(row.id),
    cluster: row.cluster,
    set: {
      vnodes: row.vnodes.map((number) => vnode(number)),
      keys: row.keys,
      except: row.except_keys,
    },
    from: shardId(row.from_shard),
    to: shardId(row.to_shard),
    state: row.state,
    wish: row.wish,
    options: row.options,
    progress: row.progress,
    error: row.error,
    hint: row.hint,
    createdAt: row.created_at,
    changedAt: row.changed_at,
  }
}
