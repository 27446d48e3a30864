// One simulated run, chosen by its seed: a cluster, moves, clients, faults; then peace, until every move has ended; then a
// look at what is there.
import { type ShardId, shardId } from '../../core/ids.ts'
import { createLog } from '../../core/log.ts'
import { hasEnded, isFenced, isSwitched } from '../../catalog/move-state.ts'
import type { Move } from '../../catalog/move-store.ts'
import { keyText } from '../../router/moved-set.ts'
import { Catalog, moveOptions } from './catalog.ts'
import { type ClientOptions, runClient } from './client.ts'
import type { Cluster } from './cluster.ts'
import type { Environment } from './environment.ts'
import { planFaults } from './faults.ts'
import { findLeftovers } from './leftovers.ts'
import { Fleet } from './fleet.ts'
import type { Mutation } from './mutation.ts'
import { Network } from './network.ts'
import { Oracle } from './oracle.ts'
import { createRows, type Row, type Value, vnodeBits } from './rows.ts'
import { Scheduler } from './scheduler.ts'
import { Shard } from './shard.ts'

export type SimulationOptions = {
  readonly seed: number
  readonly mutation?: Mutation | null
  readonly tracing?: boolean
}

export type SimulationResult = {
  readonly seed: number
  /** What was broken first; null: nothing. */
  readonly violation: string | null
  readonly trace: readonly string[]
  readonly counts: {
    readonly events: number
    readonly commits: number
    readonly reads: number
    readonly scatters: number
    readonly done: number
    readonly aborted: number
    readonly rolledBack: number
  }
}

const keyCount = 6
const clientCount = 4
const faultsUntilMs = 22_000
const clientsUntilMs = 26_000
/** From the end of all faults to the end of all moves. */
const peaceMsMax = 120_000
/** The lifting of a fence may be on its way. */
const fenceMsMax = 2_000
const shards = ['s1', 's2', 's3'].map(shardId)
const log = createLog('silent')

/** Runs it. */
export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  const { seed, mutation = null, tracing = false } = options
  const scheduler = new Scheduler(seed)
  const trace: string[] = []
  let violation: string | null = null
  const note = (line: string) => {
    if (tracing) trace.push(`${scheduler.nowMs.toFixed(1).padStart(9)} ${line}`)
  }
  const environment: Environment = {
    scheduler,
    mutation,
    tracing,
    trace: note,
    violate: (what) => {
      violation ??= what
      note(`VIOLATION ${what}`)
    },
  }
  const cluster = createCluster(environment)
  const fleet = new Fleet(cluster, log)
  planMoves(cluster)
  planFaults(cluster, fleet, faultsUntilMs)
  const clients = startClients(cluster, fleet)
  const isOver = () => violation !== null || (clients.ended() && allEnded(cluster))
  const hopes = scheduler.after(clientsUntilMs, () => settle(cluster))
  const inTime = await scheduler.run(isOver, clientsUntilMs + peaceMsMax)
  hopes.cancel()
  if (violation === null && !inTime) environment.violate(describeStuck(cluster, clients.ended()))
  if (violation === null) for (const what of findLeftovers(cluster)) environment.violate(what)
  return { seed, violation, trace, counts: countsOf(cluster) }
}

function createCluster(environment: Environment): Cluster {
  const rows = createRows(keyCount)
  const owners = Array.from({ length: 2 ** vnodeBits }, (_, number): ShardId => {
    return shards[number % shards.length] ?? shardId('')
  })
  const catalog = new Catalog(environment, { shards, owners }, rows)
  const initial = new Map(rows.map((row): [Row, Value] => [row, [0]]))
  const oracle = new Oracle(environment, initial)
  const servers = new Map(
    shards.map((id) => {
      const shard = new Shard(id, environment, {
        committed: ({ name }, { row, before, after }) => {
          if (environment.tracing) environment.trace(`${row.name} is written on ${name}`)
          oracle.committed(row, { before, after, shard: name, owner: catalog.ownerOf(row) })
        },
        refused: ({ name }, moveId) => mustBeFenced(environment, catalog.read(moveId), name),
      })
      for (const [row, value] of initial)
        if (catalog.ownerOf(row) === id) shard.rows.set(row, value)
      return [id, shard]
    }),
  )
  const network = new Network(environment)
  return { environment, network, catalog, shards: servers, rows, oracle }
}

/** A fence that stays up where rows are served turns clients away for nothing. */
function mustBeFenced({ scheduler, violate }: Environment, move: Move, shard: string): void {
  const serving = isSwitched(move.state) ? move.to : move.from
  const sinceMs = scheduler.nowMs - move.changedAt.getTime()
  if (serving !== shard || isFenced(move.state) || sinceMs < fenceMsMax) return
  violate(`${shard} refuses writes while move ${move.id} is ${move.state}`)
}

/** Some moves, of virtual nodes or of single keys, at times chosen by the seed; later ones may go back. */
function planMoves(cluster: Cluster): void {
  const { environment, catalog, rows } = cluster
  const { scheduler } = environment
  const { random } = scheduler
  for (let left = 1 + random.below(4); left > 0; left -= 1) {
    scheduler.after(scheduler.between(0, faultsUntilMs * 0.6), () => {
      const [a, b] = [random.below(shards.length), random.below(shards.length - 1)]
      const from = shards[a] ?? shardId('')
      const to = shards[b >= a ? b + 1 : b] ?? shardId('')
      const own = catalog.vnodesOf(from).filter(() => !random.oneIn(3))
      const keys = random.oneIn(4)
        ? rows.filter((row) => catalog.ownerOf(row) === from).slice(0, 1)
        : []
      const vnodes = keys.length > 0 ? [] : own
      if (vnodes.length + keys.length === 0) return
      const options = moveOptions({
        cutoverTimeoutMs: random.pick([300, 600, 1_500]),
        verify: !random.oneIn(3),
        keepSourceMs: random.pick([0, 400, 3_000, null]),
      })
      const move = catalog.create({
        from,
        to,
        vnodes,
        keys: keys.map(({ key }) => keyText(key)),
        options,
      })
      environment.trace(
        `move ${move.id} from ${from} to ${to}: ${vnodes.join(' ')} ${keys.map(({ name }) => name).join(' ')}`,
      )
    })
  }
}

function startClients(cluster: Cluster, fleet: Fleet): { readonly ended: () => boolean } {
  let item = 0
  let left = clientCount
  const options: ClientOptions = {
    cluster,
    proxies: () => fleet.proxies,
    nextItem: () => {
      item += 1
      return item
    },
    untilMs: clientsUntilMs,
  }
  for (let each = 0; each < clientCount; each += 1) {
    void runClient(options).then(() => {
      left -= 1
    })
  }
  return { ended: () => left === 0 }
}

/** The operator wants every move to end. */
function settle(cluster: Cluster): void {
  const { catalog, environment } = cluster
  for (const { id, wish } of catalog.active) {
    if (wish === null || wish === 'pause') catalog.wish(id, 'complete')
  }
  environment.scheduler.after(2_000, () => settle(cluster))
}

function allEnded({ catalog, environment }: Cluster): boolean {
  if (environment.scheduler.nowMs < faultsUntilMs) return false
  return catalog.active.length === 0
}

function describeStuck({ catalog }: Cluster, clientsEnded: boolean): string {
  const moves = catalog.active.map(({ id, state, wish, error }) => {
    return `move ${id} is stuck ${state}, wish ${wish}, ${error}`
  })
  return [...moves, ...(clientsEnded ? [] : ['a client waits'])].join('; ')
}

function countsOf({ environment, oracle, catalog }: Cluster): SimulationResult['counts'] {
  const moves = [...catalog.moves.values()].filter(({ state }) => hasEnded(state))
  const done = moves.filter(({ state }) => state === 'done').length
  const rolledBack = moves.filter(({ progress }) => progress.rolledBack === true).length
  const aborted = moves.length - done - rolledBack
  return { events: environment.scheduler.fired, ...oracle.counts, done, aborted, rolledBack }
}
