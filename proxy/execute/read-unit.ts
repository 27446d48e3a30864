// A read of one shard among steps of our own. What fails before its first row is run again on another server.
import type { Lease } from '../leases.ts'
import type { ReadFacts } from '../read-facts.ts'
import { afterReplica, isGone } from '../repeat-verdict.ts'
import { leaveServer, noteAnswered } from '../repeats.ts'
import type { Session } from '../session.ts'
import { joinShard } from './join-shard.ts'
import { ResultHeader } from './result-header.ts'
import { type Outcome, runUnit, type Unit, type UnitOptions } from './unit.ts'

const triesMax = 4

/** Runs `unit` on `lease`, taken for it, or on whatever server of the shard can answer. @throws what joinShard throws */
export async function runReadUnit(
  session: Session,
  lease: Lease,
  unit: Unit,
  { facts, ...options }: UnitOptions & { readonly facts: ReadFacts },
): Promise<Outcome> {
  const { state } = session
  const header = options.header ?? new ResultHeader()
  let { audience } = options
  let { server } = lease
  for (let tries = 1; ; tries += 1) {
    const startedMs = session.context.clock.nowMs()
    const outcome = await runUnit(session, server, unit, { ...options, header, audience })
    const { error } = outcome
    if (error === null) {
      if (state.transaction === null) noteAnswered(state, server, startedMs)
      return outcome
    }
    const elsewhere = verdict(server.target.role === 'replica', server.closed, error.sqlstate)
    const may = session.repeats.allowed(facts, { ...lease, server })
    const stays = elsewhere === 'primary' && state.reads.avoidsPrimary(state.effective)
    if (stays || !may || outcome.told === 'rows' || elsewhere === 'tell' || tries >= triesMax)
      return outcome
    leaveServer(state, server, elsewhere)
    if (outcome.told === 'header') audience = 'rows'
    server = (await joinShard(session, server.shard, false, facts)).server
  }
}

function verdict(
  replica: boolean,
  lost: boolean,
  sqlstate: string,
): 'another' | 'primary' | 'tell' {
  if (lost) return 'another'
  if (replica) return afterReplica(sqlstate)
  return isGone(sqlstate) ? 'another' : 'tell'
}
