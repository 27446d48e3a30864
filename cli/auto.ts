// `rebalance.auto`: a proxy that also looks after the balance of its databases. One of all proxies does, whoever gets the lock.
import { createMove } from '../catalog/move-store.ts'
import type { Config, DatabaseConfig } from '../config/config.ts'
import { systemClock } from '../core/clock.ts'
import type { Log } from '../core/log.ts'
import { startAuto } from '../rebalancer/auto.ts'
import { readPlanInput } from '../rebalancer/load/read-plan-input.ts'
import {
  defaultMoveOptions,
  type MoverDatabase,
  openCatalog,
  runMove,
} from '../rebalancer/run-move.ts'
import type { ProposedMove } from '../rebalancer/plan/plan-input.ts'
import { moverOf, withMoverCatalog } from './mover.ts'

const readTimeoutMs = 600_000
/** Of the way from even to where it stops: one plan is enough then. */
const epsilonShare = 0.5

/** Starts it for every database that asks for it; `close` waits for a move under way to be left to a later runner. */
export function startAutos(config: Config, log: Log): { close(): Promise<void> } {
  const stop = new AbortController()
  const running = config.databases
    .filter(({ sharding, rebalance }) => sharding !== null && rebalance.auto)
    .map((database) => {
      const mover = moverOf(config, database.name)
      return startAuto(optionsOf(database, mover, { log, signal: stop.signal }))
    })
  return {
    close: async () => {
      stop.abort(new Error('the proxy stops'))
      await Promise.all(running.map((auto) => auto.close()))
    },
  }
}

function optionsOf(
  { rebalance }: DatabaseConfig,
  mover: MoverDatabase,
  { log, signal }: { readonly log: Log; readonly signal: AbortSignal },
): Parameters<typeof startAuto>[0] {
  return {
    policy: rebalance,
    epsilon: Math.max(0.01, (rebalance.stop - 1) * epsilonShare),
    intervalMs: rebalance.intervalMs,
    openCatalog: () => openCatalog(mover),
    readInput: (target) =>
      readPlanInput(mover, target, AbortSignal.any([signal, AbortSignal.timeout(readTimeoutMs)])),
    run: (move) => runOne(mover, move, log, signal),
    clock: systemClock,
    wallMs: () => Date.now(),
    log,
  }
}

async function runOne(
  database: MoverDatabase,
  { from, to, vnodes, keys }: ProposedMove,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const { id: moveId } = await withMoverCatalog(database, (catalog) =>
    createMove(catalog, { from, to, vnodes, keys, options: defaultMoveOptions }),
  )
  const { state, error } = await runMove({ database, moveId, log, signal })
  if (state !== 'done') throw new Error(`move ${moveId} is ${state}: ${error ?? ''}`)
}
