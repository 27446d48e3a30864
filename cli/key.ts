// `ringfence key …`: where a key is, and keys that live apart from their virtual node.
import { createMove, type MoveOptions } from '../catalog/move-store.ts'
import { readTopology } from '../catalog/topology-query.ts'
import { shardId } from '../core/ids.ts'
import type { MoverDatabase } from '../rebalancer/run-move.ts'
import { vnodeBitsOf } from '../router/key-hash.ts'
import { keyFromText } from '../router/key-text.ts'
import { keyText } from '../router/moved-set.ts'
import { moveOfKey, ownerOf, placeOfKey, type Topology } from '../router/topology.ts'
import { CommandFailure } from './load-config.ts'
import { type MoverFlags, readMover, withMoverCatalog } from './mover.ts'
import { dryRun } from './rebalance/dry-run.ts'
import { runAll } from './rebalance/run.ts'
import { renderTable } from './table.ts'

export type IsolateFlags = MoverFlags & {
  readonly to?: string
  readonly yes: boolean
  readonly dryRun: boolean
  readonly verbose: boolean
  readonly limits: MoveOptions
}

/** Virtual node and shard of a key. Exit code 0. */
export async function locateCommand(
  text: string,
  flags: MoverFlags,
  out: (text: string) => void,
): Promise<number> {
  const database = await readMover(flags)
  const { topology, key } = await readPlace(database, text)
  const bits = vnodeBitsOf(database.rules.vnodeCount)
  const { vnode, shard, pinned } = placeOfKey(topology, key, bits)
  const move = moveOfKey(topology, key, vnode)
  const found = { key: keyText(key), vnode, shard, pinned, move: move?.id ?? null }
  if (flags.json) out(`${JSON.stringify(found)}\n`)
  else {
    const rows = Object.entries(found).map(([name, value]) => [name, String(value ?? 'none')])
    out(renderTable(['', ''], rows))
  }
  return 0
}

/** Moves one key to a shard, where it stays whatever becomes of its virtual node. Exit code 0 when it is done. */
export async function isolateCommand(
  text: string,
  flags: IsolateFlags,
  out: (text: string) => void,
): Promise<number> {
  const database = await readMover(flags)
  if (flags.to === undefined)
    throw new CommandFailure('--to names the shard that the key is to live on')
  if (!database.shards.has(shardId(flags.to))) {
    throw new CommandFailure(`database "${database.name}" has no shard "${flags.to}"`)
  }
  return moveKey(database, text, shardId(flags.to), flags, out)
}

/** Moves a pinned key back to the shard of its virtual node. Exit code 0 when it is done. */
export async function unpinCommand(
  text: string,
  flags: IsolateFlags,
  out: (text: string) => void,
): Promise<number> {
  const database = await readMover(flags)
  const { topology, key } = await readPlace(database, text)
  const { vnode, pinned } = placeOfKey(topology, key, vnodeBitsOf(database.rules.vnodeCount))
  if (!pinned)
    throw new CommandFailure(`key ${text} is not pinned: it lives with virtual node ${vnode}`)
  return moveKey(database, text, ownerOf(topology, vnode), flags, out)
}

async function moveKey(
  database: MoverDatabase,
  text: string,
  to: ReturnType<typeof shardId>,
  flags: IsolateFlags,
  out: (text: string) => void,
): Promise<number> {
  const { topology, key } = await readPlace(database, text)
  const { shard: from } = placeOfKey(topology, key, vnodeBitsOf(database.rules.vnodeCount))
  if (from === to) {
    if (flags.json) out(`${JSON.stringify({ moves: [] })}\n`)
    else out(`key ${text} is on shard "${to}" already\n`)
    return 0
  }
  const wanted = { from, to, vnodes: [], keys: [keyText(key)], options: flags.limits }
  if (flags.dryRun) return dryRun(database, [wanted], flags, out)
  if (!flags.yes)
    throw new CommandFailure(
      `nothing was done: say --yes to move key ${text} from ${from} to ${to}`,
    )
  const move = await withMoverCatalog(database, (catalog) => createMove(catalog, wanted))
  return runAll(database, [move], { ...flags, parallel: 1 }, out)
}

async function readPlace(database: MoverDatabase, text: string) {
  const key = keyFromText(text, database.rules.keyType)
  if (key === undefined) {
    throw new CommandFailure(`"${text}" is no shard key of type ${database.rules.keyType}`)
  }
  const topology: Topology = await withMoverCatalog(database, (catalog) =>
    readTopology(catalog, [...database.shards.keys()]),
  )
  return { topology, key }
}
