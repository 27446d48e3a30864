// Moves in tests: a stack's shards as the mover reaches them, moves made and run, clients that write meanwhile.
import { Client } from 'pg'
import { createMove, type Move, type MoveOptions } from '../../catalog/move-store.ts'
import { createLog } from '../../core/log.ts'
import { type ShardId, shardId, vnode } from '../../core/ids.ts'
import {
  defaultMoveOptions,
  type MoverDatabase,
  openCatalog,
  runMove,
} from '../../rebalancer/run-move.ts'
import type { Stack } from '../support/stack.ts'

/** The stack's database as the mover is told of it; logins are superusers'. */
export function moverOf({ instance, shardUrls }: Stack): MoverDatabase {
  const [database] = instance.databases.values()
  const rules = database?.options.rules
  if (database === undefined || !rules) throw new Error('the stack is not sharded')
  const { options, home } = database
  const shards = new Map<ShardId, { urls: string[] }>()
  for (const [at, { id }] of options.shards.entries()) {
    shards.set(id, { urls: [shardUrls[at] ?? ''] })
  }
  return { name: options.name, rules, home, shards }
}

/** Rows of a statement on the catalog. */
export async function askCatalog<Row extends object>(
  mover: MoverDatabase,
  sql: string,
): Promise<readonly Row[]> {
  const catalog = await openCatalog(mover)
  try {
    return (await catalog.client.query<Row>(sql)).rows
  } finally {
    await catalog.end()
  }
}

export type Wanted = {
  readonly from: string
  readonly to: string
  /** The first so many that `from` owns. */
  readonly vnodes?: number
  readonly keys?: readonly string[]
  readonly options?: Partial<MoveOptions>
}

/** Plans a move. */
export async function planMove(mover: MoverDatabase, wanted: Wanted): Promise<Move> {
  const { from, to, vnodes = 0, keys = [], options } = wanted
  const catalog = await openCatalog(mover)
  try {
    const { rows } = await catalog.client.query<{ vnode: number }>(
      'SELECT vnode FROM ringfence.vnode WHERE shard = $1 ORDER BY vnode LIMIT $2',
      [from, vnodes],
    )
    return await createMove(catalog.client, {
      from: shardId(from),
      to: shardId(to),
      vnodes: rows.map((row) => vnode(row.vnode)),
      keys,
      options: { ...defaultMoveOptions, ...options },
    })
  } finally {
    await catalog.end()
  }
}

const runTimeoutMs = 90_000

/** Runs a move to its end. */
export function finishMove(
  mover: MoverDatabase,
  { id: moveId }: Pick<Move, 'id'>,
  onMove: (move: Move) => void = () => undefined,
): Promise<Move> {
  const signal = AbortSignal.timeout(runTimeoutMs)
  return runMove({ database: mover, moveId, log: createLog('error'), signal, onMove })
}

/** Runs a move until it is in `state`, then leaves it there as a dead runner would. */
export async function runUntil(
  mover: MoverDatabase,
  move: Pick<Move, 'id'>,
  state: Move['state'],
): Promise<void> {
  const stop = new AbortController()
  const left = new Error('left to a later runner')
  const run = runMove({
    database: mover,
    moveId: move.id,
    log: createLog('error'),
    signal: AbortSignal.any([stop.signal, AbortSignal.timeout(runTimeoutMs)]),
    onMove: (now) => {
      if (now.state === state) stop.abort(left)
    },
  })
  await run.catch((error: unknown) => {
    if (error !== left) throw error
  })
}

/** What clients have written that go on until they are stopped. */
export type Writers = {
  /** (tenant, id) of every acknowledged row. */
  readonly written: readonly (readonly [number, number])[]
  readonly errors: readonly string[]
  stop(): Promise<void>
}

/** Inserts into `orders (tenant_id, id, note)` by several clients, one row after the other, tenants 1 to `tenants`. */
export function startWriters({ proxy }: Stack, clients: number, tenants: number): Writers {
  const written: (readonly [number, number])[] = []
  const errors: string[] = []
  const going = { on: true }
  const write = async (at: number) => {
    const client = new Client(proxy)
    await client.connect()
    for (let n = 0; going.on; n += 1) {
      const tenant = 1 + ((n * 7 + at) % tenants)
      const id = 1_000 + n * clients + at
      try {
        await client.query('INSERT INTO orders VALUES ($1, $2, $3)', [tenant, id, 'written'])
        written.push([tenant, id])
      } catch (error) {
        errors.push(String(error))
      }
    }
    await client.end()
  }
  const running = Array.from({ length: clients }, (_, at) => write(at))
  return {
    written,
    errors,
    stop: async () => {
      going.on = false
      await Promise.all(running)
    },
  }
}
