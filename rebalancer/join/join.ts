// A shard joins a cluster that is at work: it gets schema, reference tables and strides, and
// belongs to it from one epoch on.
//
//   look for problems → joining: proxies hold what goes to every shard, and say so
//   → copy, in one transaction of the shard → active: proxies go on, on all shards
//
// Whatever fails in between, the shard is taken out of the catalog again and its transaction is
// rolled back: nothing is left but the schema "ringfence" there. A run that was killed leaves it
// joining: the same command takes that up.
import type { Client } from 'pg'
import { gidPrefix } from '../../catalog/gid.ts'
import { applyMigration, missingMigrations, readMigrations } from '../../catalog/migrations.ts'
import { beginJoin, finishJoin, withdrawJoin } from '../../catalog/shards.ts'
import type { Epoch, ShardId } from '../../core/ids.ts'
import { vnodeBitsOf } from '../../router/key-hash.ts'
import type { ShardingRules } from '../../router/schema.ts'
import { openShard } from '../copy/connection.ts'
import { primaryUrl, type ShardAddress } from '../shard-address.ts'
import { awaitProxies } from './acknowledge.ts'
import { type Copied, copyToShard } from './join-copy.ts'
import { type JoinPlan, planJoin } from './join-plan.ts'
import { JoinRefused } from './join-refused.ts'

export type JoinOptions = {
  readonly id: ShardId
  readonly weight: number
  readonly shard: ShardAddress
  readonly home: ShardAddress
  readonly rules: ShardingRules
  /** Ids of proxies that are gone for good. */
  readonly forget: readonly string[]
  /** How long statements may be held for all of it. */
  readonly timeoutMs: number
  /** Told what happens, a line at a time. */
  readonly say: (line: string) => void
  readonly signal: AbortSignal
}

/** What has been done. */
export type Joined = Copied & {
  readonly epoch: Epoch
  readonly ordinal: number
  /** How long statements that go to every shard were held. */
  readonly heldMs: number
}

/** An open transaction with DDL that lasts longer has the shard join another time. */
const acknowledgeTimeoutMs = 20_000
const withdrawTimeoutMs = 30_000
const pollMs = 100

/**
 * Null when the shard has joined before. @throws JoinRefused naming every problem at once; else why
 * it was undone
 */
export async function joinCluster(options: JoinOptions): Promise<Joined | null> {
  const { id, weight, say, signal } = options
  await using plan = await planJoin(options)
  if (plan.hasJoined) return null
  if (plan.problems.length > 0) throw new JoinRefused(plan.problems)
  await migrate(options)
  signal.throwIfAborted()
  const startMs = performance.now()
  const begun = await beginJoin(plan.home, { id, weight, ordinal: plan.local?.ordinal ?? null })
  say(`shard "${id}" is joining at epoch ${begun.epoch}: what goes to every shard is held`)
  let filled: Copied & { readonly epoch: Epoch }
  try {
    filled = await fill(options, plan, begun)
  } catch (thrown) {
    await withdraw(options, plan.home, thrown)
    throw thrown
  }
  const heldMs = performance.now() - startMs
  say(`shard "${id}" is active at epoch ${filled.epoch}`)
  const late = await goOn(options, plan.home, filled.epoch)
  return { ...filled, ordinal: begun.ordinal, heldMs, notes: [...filled.notes, ...late] }
}

async function migrate({ id, shard, rules, say }: JoinOptions): Promise<void> {
  await using target = await openShard(await primaryUrl(shard), new AbortController().signal)
  const missing = await missingMigrations(target.client, id, await readMigrations())
  const shift = 64 - vnodeBitsOf(rules.vnodeCount)
  const variables = { vnode_shift: shift, vnode_mask: rules.vnodeCount - 1 }
  for (const migration of missing.filter(({ scope }) => scope === 'shard')) {
    await applyMigration(target.client, migration, variables)
    say(`applied ${migration.name}`)
  }
}

type Begun = { readonly epoch: Epoch; readonly ordinal: number }

async function fill(
  options: JoinOptions,
  { home, cluster, local }: JoinPlan,
  { epoch, ordinal }: Begun,
): Promise<Copied & { readonly epoch: Epoch }> {
  const limit = new AbortController()
  const timer = setTimeout(() => {
    const problem = `it took longer than ${options.timeoutMs / 1_000} s (--timeout)`
    limit.abort(new JoinRefused([problem]))
  }, options.timeoutMs)
  const signal = AbortSignal.any([options.signal, limit.signal])
  const within = { ...options, signal }
  try {
    await allHold(within, home, epoch)
    await allDecided(within, home)
    const returning = local?.ordinal === ordinal
    const copied = await copyToShard({ ...within, cluster, ordinal, returning })
    return { ...copied, epoch: await finishJoin(home, options.id) }
  } catch (thrown) {
    // A connection that the signal has cut says less.
    signal.throwIfAborted()
    throw thrown
  } finally {
    clearTimeout(timer)
  }
}

async function allHold(
  { id, say, signal, timeoutMs }: JoinOptions,
  home: Client,
  epoch: Epoch,
): Promise<void> {
  let waitedFor = 'a proxy'
  const late = (proxies: readonly string[]) => {
    waitedFor = proxies.join(', ')
    say(`waiting for ${waitedFor}`)
  }
  // The rest of the time is for copying.
  const limit = AbortSignal.timeout(Math.min(acknowledgeTimeoutMs, Math.ceil(timeoutMs / 2)))
  try {
    await awaitProxies(home, epoch, { signal: AbortSignal.any([signal, limit]), late })
  } catch (cause) {
    if (!limit.aborted || signal.aborted) throw cause
    const problem =
      `${waitedFor} has not taken up epoch ${epoch}: reload its configuration if that lacks ` +
      `shard "${id}"; else a transaction with DDL or a write to a reference table is open there`
    throw new JoinRefused([problem], { cause })
  }
}

/** What a proxy that is gone has left prepared may yet commit, and the snapshot would miss it. */
async function allDecided({ say, signal }: JoinOptions, home: Client): Promise<void> {
  for (let round = 0; ; round += 1) {
    signal.throwIfAborted()
    const { rows } = await home.query<{ open: number }>(
      `SELECT count(*)::int AS open FROM pg_prepared_xacts
       WHERE database = current_database() AND starts_with(gid, $1)`,
      [gidPrefix],
    )
    const { open = 0 } = rows[0] ?? {}
    if (open === 0) return
    if (round === 1) say(`waiting for ${open} prepared transactions on the home shard`)
    await new Promise((resolve) => setTimeout(resolve, pollMs))
  }
}

/** Takes the shard out of the catalog again, also when the connection of before is gone. */
async function withdraw({ id, home, say }: JoinOptions, client: Client, why: unknown) {
  const undo = async (by: Client) => {
    const epoch = await withdrawJoin(by, id)
    if (epoch !== null) say(`shard "${id}" is out of the catalog again: what was held goes on`)
  }
  try {
    await undo(client)
    return
  } catch {
    // The home shard may be failing over.
  }
  const endMs = performance.now() + withdrawTimeoutMs
  for (;;) {
    try {
      const signal = AbortSignal.timeout(withdrawTimeoutMs)
      await using fresh = await openShard(await primaryUrl(home), signal)
      return await undo(fresh.client)
    } catch (cause) {
      if (performance.now() < endMs) {
        await new Promise((resolve) => setTimeout(resolve, 1_000))
        continue
      }
      const reason = why instanceof Error ? why.message : String(why)
      throw new Error(
        `shard "${id}" could not be taken out of the catalog: DDL and writes to reference tables ` +
          'are held until the same command is run again, or ' +
          `"ringfence shard remove ${id}": ${reason}`,
        { cause },
      )
    }
  }
}

/** Nothing waits for it: a proxy that has not heard yet goes on holding. Gives who has not. */
async function goOn({ signal }: JoinOptions, home: Client, epoch: Epoch): Promise<string[]> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(acknowledgeTimeoutMs)])
  try {
    await awaitProxies(home, epoch, { signal: limit, late: () => undefined })
    return []
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return [`not every proxy has taken up epoch ${epoch} yet: ${reason}`]
  }
}
