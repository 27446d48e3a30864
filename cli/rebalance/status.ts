// `ringfence rebalance status` and `watch`: the moves of a database as the catalog has them.
import { listMoves, type Move } from '../../catalog/move-store.ts'
import { hasEnded } from '../../catalog/move-state.ts'
import { listProxies } from '../../catalog/proxy-registry.ts'
import { type MoverFlags, readMover, withMoverCatalog } from '../mover.ts'
import { renderTable } from '../table.ts'
import { describeSet, describeState, moveJson } from './describe.ts'
import { progressView } from './progress.ts'

export type StatusFlags = MoverFlags & { readonly all: boolean }

const shownMax = 20
const watchEveryMs = 500
const stateShownMax = 60

/** Exit code 0. */
export async function statusCommand(
  flags: StatusFlags,
  out: (text: string) => void,
): Promise<number> {
  const database = await readMover(flags)
  const { moves, proxies } = await withMoverCatalog(database, async (catalog) => ({
    moves: await listMoves(catalog, flags.all ? { limit: 1_000 } : { limit: shownMax }),
    proxies: await listProxies(catalog),
  }))
  if (flags.json) {
    out(`${JSON.stringify({ moves: moves.map(moveJson), proxies })}\n`)
    return 0
  }
  if (moves.length === 0) out('no move yet\n')
  else {
    const rows = moves.map((move) => [
      String(move.id),
      `${move.from} → ${move.to}`,
      describeSet(move),
      shortened(describeState(move)),
      move.changedAt.toISOString().slice(0, 19).replace('T', ' '),
    ])
    out(renderTable(['move', 'from → to', 'what', 'state', 'since (UTC)'], rows))
  }
  for (const { id, state, error, hint } of moves) {
    if (error === null || hasEnded(state)) continue
    out(`\nmove ${id}: ${error}\n`)
    if (hint !== null) out(`hint: ${hint}\n`)
  }
  const seen = proxies.map(({ id, address, epochSeen, silentMs }) => [
    id,
    address,
    String(epochSeen),
    `${(silentMs / 1_000).toFixed(1)} s ago`,
  ])
  out(`\n${renderTable(['proxy', 'address', 'epoch', 'last heard of'], seen)}`)
  return 0
}

/** Shows moves that are under way until all have ended; exit code 1 when one was aborted. */
export async function watchCommand(
  flags: MoverFlags,
  out: (text: string) => void,
): Promise<number> {
  const database = await readMover(flags)
  return withMoverCatalog(database, async (catalog) => {
    const active = await listMoves(catalog, { active: true })
    if (active.length === 0 && !flags.json) out('no move is unfinished\n')
    const view = progressView(active, flags.json)
    const ids = new Set(active.map(({ id }) => id))
    let ended: readonly Move[] = []
    while (ended.length < ids.size) {
      const moves = (await listMoves(catalog, { limit: 1_000 })).filter(({ id }) => ids.has(id))
      for (const move of moves) view.move(move)
      ended = moves.filter(({ state }) => hasEnded(state))
      if (ended.length < ids.size) await new Promise((resolve) => setTimeout(resolve, watchEveryMs))
    }
    await view.end()
    if (flags.json) out(`${JSON.stringify({ moves: ended.map(moveJson) })}\n`)
    return ended.every(({ state }) => state === 'done') ? 0 : 1
  })
}

/** For a table; --json has it in full. */
function shortened(text: string): string {
  return text.length > stateShownMax ? `${text.slice(0, stateShownMax)}…` : text
}
