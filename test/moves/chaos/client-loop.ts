// A client: one thing after the other, through one proxy for a while and then through another.
import { setTimeout as delay } from 'node:timers/promises'
import { createRandom, type Random, seedOf } from '../../support/random.ts'
import type { Ledger } from './ledger.ts'
import { Line, LineError } from './line.ts'
import {
  readAllTenants,
  readEntries,
  readInTransaction,
  readList,
  readOpeningEntries,
  readTenant,
} from './reads.ts'
import { type ChaosStack, proxyCount } from './stack.ts'
import type { Tally } from './tally.ts'
import {
  type Actor,
  appendToList,
  changeToken,
  copyEntries,
  insertEntry,
  raisePrice,
  transferAtOnce,
  transferInSteps,
} from './writes.ts'

export type ClientOptions = {
  /** 1 and up. */
  readonly client: number
  readonly stack: ChaosStack
  readonly ledger: Ledger
  readonly tally: Tally
  readonly seed: number
  /** Between two operations, on the average. */
  readonly pauseMs: number
}

type Operation = (actor: Actor) => Promise<void>

/** Out of the sum of all. */
const mix: readonly (readonly [number, Operation])[] = [
  [22, appendToList],
  [16, insertEntry],
  [4, copyEntries],
  [12, transferInSteps],
  [6, transferAtOnce],
  [8, changeToken],
  [1, raisePrice],
  [14, readList],
  [8, readTenant],
  [4, readInTransaction],
  [4, readEntries],
  [1, readAllTenants],
  [1, readOpeningEntries],
]
const total = mix.reduce((sum, [weight]) => sum + weight, 0)
const pauseAfterErrorMs = 50

/** Works until `isOver`. */
export async function work(options: ClientOptions, isOver: () => boolean): Promise<void> {
  const { client, stack, ledger, tally, seed, pauseMs } = options
  const random = createRandom(seedOf(seed, 1_000 + client))
  let proxy = client % proxyCount
  const line = new Line(() => stack.place(proxy))
  const actor: Actor = { client, line, ledger, random, tokens: [] }
  while (!isOver()) {
    if (random.oneIn(200)) {
      line.drop()
      proxy = random.below(proxyCount)
    }
    const operation = choose(random)
    const beginMs = performance.now()
    try {
      await operation(actor)
      tally.succeeded(performance.now() - beginMs)
    } catch (error) {
      if (!(error instanceof LineError)) throw error
      const { sqlstate, message } = error
      const failure = { sqlstate, message, proxy, beginMs, endMs: performance.now() }
      tally.failed(operation.name, failure)
      // Who has lost its proxy looks for another one.
      if (sqlstate === 'refused' || sqlstate === 'closed') proxy = random.below(proxyCount)
      await delay(pauseAfterErrorMs)
    }
    await delay(random.below(2 * pauseMs + 1))
  }
  line.drop()
}

function choose(random: Random): Operation {
  let left = random.below(total)
  for (const [weight, operation] of mix) {
    left -= weight
    if (left < 0) return operation
  }
  return readTenant
}
