// `ringfence shard drain` and `remove`: a shard gives everything away, and then leaves the cluster.
import { CatalogError } from '../catalog/catalog-error.ts'
import {
  type CatalogShard,
  knownShard,
  listShards,
  lockShards,
  removalProblems,
  removeShard,
  setDraining,
  withdrawJoin,
} from '../catalog/shards.ts'
import { type Epoch, shardId } from '../core/ids.ts'
import { openShard, type ShardConnection } from '../rebalancer/copy/connection.ts'
import { awaitProxies } from '../rebalancer/join/acknowledge.ts'
import { primaryUrl } from '../rebalancer/shard-address.ts'
import { readCluster, type ShardFlags } from './shard-cluster.ts'

export type DrainFlags = ShardFlags & { readonly dryRun: boolean; readonly undo: boolean }
export type RemoveFlags = ShardFlags & { readonly dryRun: boolean }

const commandTimeoutMs = 60_000
const acknowledgeTimeoutMs = 20_000

/** Marks the shard, or takes the mark away. Exit code 0, also when it was so already. */
export async function shardDrainCommand(
  name: string,
  flags: DrainFlags,
  out: (text: string) => void,
): Promise<number> {
  const id = shardId(name)
  await using home = await openHome(flags)
  const { vnodes, pins, state } = knownShard(await listShards(home.client), id)
  const wanted = flags.undo ? 'active' : 'draining'
  const done = { ok: true, shard: name, vnodes, pins, dryRun: flags.dryRun }
  if (flags.dryRun) {
    const line = `would mark shard "${name}", ${state} now, as ${wanted}`
    return say(out, flags, { ...done, state }, [line])
  }
  await lockShards(home.client)
  const epoch = await setDraining(home.client, id, !flags.undo)
  if (epoch === null) {
    return say(out, flags, { ...done, state }, [`shard "${name}" is ${state} already`])
  }
  const next = flags.undo
    ? [`shard "${name}" is active: plans use it again`]
    : [
        `shard "${name}" is draining: it owns ${vnodes} virtual nodes and ${pins} pinned keys`,
        'go on with: ringfence rebalance plan, then ringfence rebalance run',
        `and when it owns nothing: ringfence shard remove ${name}`,
      ]
  return say(out, flags, { ...done, state: wanted, epoch }, next)
}

/**
 * Takes a shard out that nothing lives on, or one whose joining was cut short. Exit code 0, or 1
 * with all that lives there.
 */
export async function shardRemoveCommand(
  name: string,
  flags: RemoveFlags,
  out: (text: string) => void,
): Promise<number> {
  const id = shardId(name)
  await using home = await openHome(flags)
  await lockShards(home.client)
  const shard = knownShard(await listShards(home.client), id)
  const problems = removalProblems(shard)
  if (problems.length > 0) {
    if (!flags.json) {
      throw new CatalogError(
        problems.join('\n'),
        `Move everything off it first: ringfence shard drain ${name}`,
      )
    }
    out(`${JSON.stringify({ ok: false, shard: name, problems })}\n`)
    return 1
  }
  const done = { ok: true, shard: name, dryRun: flags.dryRun }
  if (flags.dryRun) {
    return say(out, flags, done, [`would take shard "${name}" out of the catalog`])
  }
  const epoch = await takeOut(home, shard)
  const notes = await understood(home, epoch)
  return say(out, flags, { ...done, epoch, notes }, [
    `shard "${name}" is out of the catalog at epoch ${epoch}`,
    ...notes,
    'take it out of the file of every proxy, which comes into force at their next restart',
  ])
}

async function takeOut({ client }: ShardConnection, { id, state }: CatalogShard): Promise<Epoch> {
  const withdrawn = state === 'joining' ? await withdrawJoin(client, id) : null
  return withdrawn ?? (await removeShard(client, id))
}

/** Until then a proxy may still write reference tables there, which harms nobody. */
async function understood({ client }: ShardConnection, epoch: Epoch): Promise<readonly string[]> {
  try {
    const signal = AbortSignal.timeout(acknowledgeTimeoutMs)
    await awaitProxies(client, epoch, { signal, late: () => undefined })
    return []
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return [`not every proxy has taken up epoch ${epoch} yet: ${reason}`]
  }
}

async function openHome(flags: ShardFlags): Promise<ShardConnection> {
  const { home } = await readCluster(flags)
  return await openShard(await primaryUrl(home), AbortSignal.timeout(commandTimeoutMs))
}

function say(
  out: (text: string) => void,
  { json }: ShardFlags,
  result: Readonly<Record<string, unknown>> & { readonly shard: string },
  lines: readonly string[],
): number {
  out(json ? `${JSON.stringify(result)}\n` : lines.map((line) => `${line}\n`).join(''))
  return 0
}
