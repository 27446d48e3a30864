// Puts the shop into the middle of moves: rows lie on shards that do not own them, some as they are and some as they
// never were, and the catalog says which. The oracle has none of these, so whoever sees one gives another answer.
import type { Client } from 'pg'
import { vnodeOfInt } from '../../router/key-hash.ts'
import { connected, until, value } from '../support/clients.ts'
import type { Stack } from '../support/stack.ts'
import { shopKeys } from './shop.ts'

/** Sharded tables, and what makes of a row one that the oracle does not have. */
const tables: readonly (readonly [name: string, changes: string, isPlantedAsIs: boolean])[] = [
  ['tenants', `'name', 'hidden', 'feeling', 'happy', 'parent', 2`, false],
  ['users', `'id', id + 100, 'email', 'hidden ' || id, 'age', 1`, true],
  ['orders', `'id', id + 100, 'status', 'hidden', 'total', 7`, true],
  ['order_items', `'line', line + 100, 'quantity', 3`, true],
  ['events', `'id', id - 1000, 'amount', 9`, true],
  ['tags', `'word', word || ' hidden', 'number', number - 10000`, true],
  ['shop.orders', `'id', id + 100, 'note', 'hidden'`, true],
]

const vnodeBits = 12

type Fate = 'copying' | 'switched' | 'key' | 'pinned' | 'resting' | 'completing'
const fates: readonly Fate[] = ['copying', 'switched', 'key', 'pinned', 'completing', 'resting']

type Placed = { readonly key: string; readonly fate: Fate; readonly owner: number }

/** Keys whose rows lie on a second shard as well. */
export const hiddenKeys: readonly string[] = shopKeys.filter((_, at) => {
  const fate = fates[at % fates.length]
  return fate !== 'pinned' && fate !== 'resting'
})

/** Publishes the moves, then plants the rows: from then on every shard of `stack` holds rows of others. */
export async function plantHidden(stack: Stack): Promise<void> {
  const shards = await Promise.all(
    stack.shardUrls.map((connectionString) => connected({ connectionString })),
  )
  const oracle = await connected(stack.direct)
  const clients = { shards, oracle }
  try {
    for (const shard of shards) await shard.query('SET session_replication_role = replica')
    const placed = await placeKeys(shards)
    await publish(stack, shards, placed)
    for (const each of placed) await plant(clients, each)
  } finally {
    await Promise.all([...shards, oracle].map((client) => client.end()))
  }
}

type Clients = { readonly shards: readonly Client[]; readonly oracle: Client }

async function placeKeys([home]: readonly Client[]): Promise<readonly Placed[]> {
  const owners = await home?.query<{ vnode: number; ordinal: number }>(
    `SELECT v.vnode, s.ordinal FROM ringfence.vnode v JOIN ringfence.shard s ON s.id = v.shard`,
  )
  const ownerOf = new Map(owners?.rows.map(({ vnode, ordinal }) => [vnode, ordinal]))
  return shopKeys.map((key, at) => ({
    key,
    fate: fates[at % fates.length] ?? 'resting',
    owner: ownerOf.get(vnodeOfInt(BigInt(key), vnodeBits)) ?? 0,
  }))
}

/** Where a key's rows are hidden, or, of a pinned key, where they are. */
function elsewhere({ owner }: Placed, shards: readonly Client[]): number {
  return (owner + 1) % shards.length
}

async function publish(
  stack: Stack,
  shards: readonly Client[],
  placed: readonly Placed[],
): Promise<void> {
  const [home] = shards
  if (home === undefined) return
  const { rows } = await home.query<{ id: string }>(
    'SELECT id FROM ringfence.shard ORDER BY ordinal',
  )
  const idOf = (at: number) => rows[at]?.id ?? ''
  await home.query('BEGIN')
  for (const each of placed) {
    const { key, fate, owner } = each
    if (fate === 'resting') continue
    const other = elsewhere(each, shards)
    const forward = fate !== 'switched' && fate !== 'completing'
    const [from, to] = forward ? [owner, other] : [other, owner]
    const state = fate === 'key' ? 'catching_up' : fate === 'pinned' ? 'verifying' : fate
    const vnode = vnodeOfInt(BigInt(key), vnodeBits)
    await home.query(
      `INSERT INTO ringfence.move (vnodes, keys, except_keys, from_shard, to_shard, state)
       VALUES ($1, $2, $3, $4, $5, $6)`,
      [
        fate === 'key' ? [] : [vnode],
        fate === 'key' ? [key] : [],
        fate === 'pinned' ? [key] : [],
        idOf(from),
        idOf(to),
        state,
      ],
    )
    if (fate === 'pinned')
      await home.query('INSERT INTO ringfence.pin VALUES ($1, $2)', [key, idOf(other)])
  }
  await home.query('UPDATE ringfence.topology SET epoch = epoch + 1')
  await home.query('NOTIFY ringfence_topology')
  await home.query('COMMIT')
  const epoch = Number(await value(home, 'SELECT epoch FROM ringfence.topology'))
  const [database] = stack.instance.databases.values()
  await until('the moves are known', () => database?.topology.epoch === epoch)
}

async function plant({ shards, oracle }: Clients, placed: Placed): Promise<void> {
  const { key, fate, owner } = placed
  const target = shards[elsewhere(placed, shards)]
  if (fate === 'resting' || target === undefined) return
  for (const [table, changes, isPlantedAsIs] of tables) {
    const hidden = `to_jsonb(t) || jsonb_build_object(${changes})`
    if (fate === 'pinned') {
      await shards[owner]?.query(`DELETE FROM ${table} WHERE tenant_id = ${key}`)
    } else await copyRows(oracle, target, table, { key, row: hidden })
    if (isPlantedAsIs || fate === 'pinned')
      await copyRows(oracle, target, table, { key, row: 'to_jsonb(t)' })
  }
}

async function copyRows(
  oracle: Client,
  target: Client,
  table: string,
  { key, row }: { readonly key: string; readonly row: string },
): Promise<void> {
  const rows = await value(
    oracle,
    `SELECT coalesce(jsonb_agg(${row}), '[]')::text FROM ${table} t WHERE tenant_id = ${key}`,
  )
  const columns = await value(
    target,
    `SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
     WHERE attrelid = '${table}'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''`,
  )
  await target.query(
    `INSERT INTO ${table} (${columns}) OVERRIDING SYSTEM VALUE
     SELECT ${columns} FROM jsonb_populate_recordset(NULL::${table}, $1::jsonb)`,
    [rows],
  )
}
