// What is done in each state of a move. A step is idempotent: it may have been done before, in part or in whole, by a runner
// that is gone. It gives the transition to the next state, or null to be called again.
import type { MoveState } from '../../catalog/move-state.ts'
import type { Move, Transition } from '../../catalog/move-store.ts'
import { acknowledged, describeLate } from '../acknowledged.ts'
import { Interrupted } from '../guard.ts'
import { MoveProblem } from '../move-problem.ts'
import type { MoveRunner } from '../runner.ts'
import { failedOver, serverOf } from '../same-server.ts'
import { fence, fenceBack, unfence, unfenceBack } from './cutover.ts'
import { abort, complete } from './end.ts'
import { whileFollowing } from './while-following.ts'

type Step = (runner: MoveRunner, move: Move, signal: AbortSignal) => Promise<Transition | null>

/** One step per state: a new state without one does not compile. */
export const steps: Readonly<Record<MoveState, Step>> = {
  planned: begin,
  preparing: prepare,
  copying: copy,
  catching_up: catchUp,
  verifying: verify,
  fencing: fence,
  unfencing: unfence,
  switched: serve,
  rolling_back: fenceBack,
  unfencing_back: unfenceBack,
  completing: complete,
  aborting: abort,
  done: nothing,
  aborted: nothing,
}

/** What the source has written is applied within so much: the rest takes moments at the switch. */
const lagMsMax = 500
const lookMs = 100
const cutoverPauseMsMin = 500
const cutoverPauseMsMax = 15_000

/** Nothing has been published: whatever is wrong is told before anybody is disturbed. */
async function begin({ world }: MoveRunner, move: Move, signal: AbortSignal) {
  if (move.wish === 'abort') return { next: 'aborted', granted: true } as const
  if (move.wish === 'pause') return paused(world, signal)
  const problems = await world.findProblems(move, signal)
  const begunAt = world.wallMs()
  if (problems.length === 0) return { next: 'preparing', progress: { begunAt } } as const
  await world.note(move, { problems })
  const [first = '', ...others] = problems
  const more = others.length === 0 ? '' : ` (and ${others.length} problems more)`
  throw new MoveProblem('notReady', `the move cannot start: ${first}${more}`, {
    hint: 'Settle what is named and run the command again; nothing was changed.',
  })
}

/** Every proxy knows of the move, so that silence means that it holds; the source tells all that is changed. */
async function prepare(
  runner: MoveRunner,
  move: Move,
  signal: AbortSignal,
): Promise<Transition | null> {
  const { world } = runner
  if (move.wish === 'abort') return aborting
  const { prepareTimeoutMs: timeoutMs } = move.options
  const late = await acknowledged(world, { whom: 'everybody', timeoutMs, signal })
  if (late.length > 0) {
    throw new MoveProblem(
      'notAcknowledged',
      `not every proxy has acknowledged the move: ${describeLate(late)}`,
      {
        hint: 'A proxy that lacks the shard in its configuration has to be reloaded; one that is gone for good is taken off the list with "ringfence rebalance doctor --forget-proxy <id>".',
      },
    )
  }
  const identities = { ...move.progress.identities, ...(await world.narrowIdentities(move)) }
  // Kept before anything is changed: whoever comes later has to put it back.
  const waitsFor = 'transactions that are open on the source'
  const noted = await world.note(move, { identities, waitsFor })
  if (noted === undefined) return null
  await world.widenIdentities(noted)
  const { slot, lsn } = await world.openStream(noted, 'forward', signal)
  const copiedTo = serverOf(await world.position(noted, 'target'))
  return { next: 'copying', progress: { slot, slotLsn: lsn.toString(), copiedTo, waitsFor: '' } }
}

async function copy(
  { world }: MoveRunner,
  move: Move,
  signal: AbortSignal,
): Promise<Transition | null> {
  if (move.wish === 'abort') return aborting
  if (move.wish === 'pause') return paused(world, signal)
  let copied = move.progress.copied ?? {}
  const done = async (table: string, lsn: bigint) => {
    copied = { ...copied, [table]: lsn.toString() }
    const noted = await world.note(move, { copied })
    if (noted === undefined) throw new Interrupted()
  }
  await world.copy(move, done, signal)
  return { next: 'catching_up', progress: { copied } }
}

async function catchUp(
  runner: MoveRunner,
  move: Move,
  signal: AbortSignal,
): Promise<Transition | null> {
  const { world } = runner
  if (move.wish === 'abort') return aborting
  const { cutoverTries: most } = move.options
  const tries = move.progress.cutoverTries ?? 0
  if (tries >= most) {
    throw new MoveProblem(
      'cutoverFailed',
      `the fence could not be had in ${tries} tries: ${move.error ?? ''}`,
      {
        hint: 'Find the transactions that stay open on the source, or raise --cutover-timeout, and run the move again.',
      },
    )
  }
  const following = await runner.following(move, 'forward', signal)
  await whileFollowing(following, signal, async (signal) => {
    if (tries > 0) {
      await world.sleep(Math.min(cutoverPauseMsMin * 2 ** (tries - 1), cutoverPauseMsMax), signal)
    }
    for (;;) {
      const { lsn } = await world.position(move, 'source')
      const beginMs = world.nowMs()
      await following.reached(lsn, signal)
      if (world.nowMs() - beginMs <= lagMsMax && move.wish !== 'pause') return
      await world.sleep(lookMs, signal)
    }
  })
  if (move.options.verify && move.progress.isVerified !== true) return { next: 'verifying' }
  // What is asked of the target at the switch is opened now.
  await refuseFailover(world, move)
  const { reverseSlot } = move.progress
  if (reverseSlot !== undefined && (await world.retained(move, 'reverse')) !== null) {
    return { next: 'fencing', progress: { fencedAt: world.wallMs() } }
  }
  // Before the fence: a new slot waits for transactions of the target, and clients would wait with it.
  const { slot } = await whileFollowing(following, signal, (signal) =>
    world.openStream(move, 'reverse', signal),
  )
  return { next: 'fencing', progress: { reverseSlot: slot, fencedAt: world.wallMs() } }
}

async function verify(
  runner: MoveRunner,
  move: Move,
  signal: AbortSignal,
): Promise<Transition | null> {
  const { world } = runner
  if (move.wish === 'abort') return aborting
  if (move.wish === 'pause') return paused(world, signal)
  const following = await runner.following(move, 'forward', signal)
  const found = await whileFollowing(following, signal, (signal) =>
    world.verify(move, following, signal),
  )
  const { rows, differing, differences } = found
  if (differing > 0) {
    await world.note(move, { differences, rowsVerified: rows })
    throw new MoveProblem(
      'differs',
      `${differing} of ${rows} rows differ between the shards, the first: ${JSON.stringify(differences[0])}`,
      {
        hint: 'Nothing was switched. See "ringfence rebalance status --json" for the rows; please report this with the log.',
      },
    )
  }
  await refuseFailover(world, move)
  const { slot } = await whileFollowing(following, signal, (signal) =>
    world.openStream(move, 'reverse', signal),
  )
  const progress = {
    isVerified: true,
    rowsVerified: rows,
    reverseSlot: slot,
    fencedAt: world.wallMs(),
  }
  return { next: 'fencing', progress }
}

/** The target serves; what is written there is kept up on the source, until the move is completed or taken back. */
async function serve(
  runner: MoveRunner,
  move: Move,
  signal: AbortSignal,
): Promise<Transition | null> {
  const { world } = runner
  if (move.wish === 'complete') return { next: 'completing', granted: true }
  const { keepSourceMs } = move.options
  const age = world.wallMs() - move.changedAt.getTime()
  if (move.wish === null && keepSourceMs !== null && age >= keepSourceMs)
    return { next: 'completing' }
  await world.closeStream(move, 'forward')
  const following = await runner.following(move, 'reverse', signal)
  // An abort that the switch was quicker than is taken back all the same.
  if (move.wish === 'rollback' || move.wish === 'abort')
    return { next: 'rolling_back', progress: { fencedAt: world.wallMs() }, granted: true }
  const leftMs = keepSourceMs === null ? Number.POSITIVE_INFINITY : keepSourceMs - age
  await whileFollowing(following, signal, (signal) =>
    world.sleep(Math.min(Math.max(leftMs, 0), 1_000), signal),
  )
  return null
}

async function refuseFailover(world: MoveRunner['world'], move: Move): Promise<void> {
  const problem = failedOver(move, await world.position(move, 'target'))
  if (problem !== null) throw problem
}

const aborting = { next: 'aborting', granted: true } as const

async function paused(world: MoveRunner['world'], signal: AbortSignal): Promise<null> {
  await world.sleep(lookMs, signal)
  return null
}

async function nothing(): Promise<null> {
  return null
}
