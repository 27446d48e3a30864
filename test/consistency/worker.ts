// A worker runs one session after the other, each for some tens of operations, over connections of its own to every
// proxy.
import type { Place } from '../support/stack.ts'
import { Line, LineError } from './line.ts'
import { type Carrier, CarrierLost, Session } from './session.ts'
import type { OpenId, World } from './world.ts'

export type WorkerOptions = {
  /** Number of the worker, for people. */
  readonly worker: number
  readonly world: World
  readonly places: readonly Place[]
  readonly tokens: 'on' | 'off'
  /** Session ids are kept in Redis; without one there are none. */
  readonly redis: boolean
  /** Told apart from other runs in the same Redis. */
  readonly prefix: string
}

const stepsMin = 10
const stepsMax = 80
const errorPauseMs = 50

/** Runs sessions until `isOver`. */
export async function work(options: WorkerOptions, isOver: () => boolean): Promise<void> {
  const lines = options.places.map((place) => new Line(place))
  try {
    while (!isOver()) await runSession(options, lines, isOver)
  } finally {
    for (const line of lines) line.drop()
  }
}

async function runSession(
  options: WorkerOptions,
  lines: readonly Line[],
  isOver: () => boolean,
): Promise<void> {
  const { world, tokens, redis, worker } = options
  const { random } = world
  const carrier = random.pick<Carrier>(
    redis
      ? ['connection', 'token', 'token', 'id', 'id', 'comment']
      : ['connection', 'token', 'token'],
  )
  const own = open(options, carrier)
  const session = new Session({ world, lines, tokens, carrier, worker, ...own })
  try {
    await session.begin()
    const steps = stepsMin + random.below(stepsMax - stepsMin)
    for (let step = 0; step < steps && !isOver(); step += 1) await tryStep(session)
    await session.end()
  } catch (error) {
    if (error instanceof LineError) world.tally.failed('session', error)
    else if (!(error instanceof CarrierLost)) throw error
    await pause()
  } finally {
    close(world, own)
  }
}

/** An error ends the operation, not the session. */
async function tryStep(session: Session): Promise<void> {
  try {
    await session.step()
  } catch (error) {
    if (!(error instanceof LineError)) throw error
    await pause()
  }
}

/** A session of its own, or one that another worker has open in Redis: a user with two browser tabs. */
function open({ world, prefix }: WorkerOptions, carrier: Carrier): OpenId {
  const { random, openIds } = world
  const inRedis = carrier === 'id' || carrier === 'comment'
  const shared = openIds[random.below(openIds.length || 1)]
  if (inRedis && shared !== undefined && random.oneIn(4)) {
    openIds.push(shared)
    return shared
  }
  const session = world.nextSession()
  const opened = { session, id: `${prefix}-${session}` }
  if (inRedis) openIds.push(opened)
  return opened
}

function close({ openIds }: World, own: OpenId): void {
  const at = openIds.indexOf(own)
  if (at >= 0) openIds.splice(at, 1)
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, errorPauseMs))
}
