// One run: a stack, workers, chaos, and the checks of what has been written down.
import { randomBytes } from 'node:crypto'
import { checkHistory } from '../support/history-check.ts'
import { describeAll, type Violation } from '../support/history-violation.ts'
import { createRandom } from '../support/random.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import { Chaos } from './chaos.ts'
import { createRegisters, finalStateOf, registerSchema, shardsOfRegisters } from './registers.ts'
import { work } from './worker.ts'
import { World } from './world.ts'

export type RunOptions = {
  readonly seed: number
  /** The run ends after so many, or when the time is over. */
  readonly operations: number
  readonly minutes: number
  readonly tokens: 'on' | 'off'
  readonly shards: number
  readonly proxies: number
  readonly proxyKind: 'inProcess' | 'program'
  readonly workers: number
  readonly keys: number
  readonly redis: boolean
  readonly chaos: 'all' | 'replay'
  /** Mean time between two failures of one shard's servers; Redis and proxies fail less often. */
  readonly paceMs: number
  readonly say: (line: string) => void
}

export type RunReport = {
  readonly operations: number
  readonly operationsPerSecond: number
  /** Of the reads whose server is known. */
  readonly replicaShare: number
  readonly misplaced: number
  readonly violations: readonly Violation[]
  /** All of it for a person. */
  readonly text: string
}

const replicas = 2
const progressMs = 5_000

/** Starts everything, runs, checks, stops everything. */
export async function runConsistency(options: RunOptions): Promise<RunReport> {
  const { shards, proxies, proxyKind, redis, say } = options
  say(`seed ${options.seed}: ${shards} shards × ${replicas} replicas, ${proxies} proxies`)
  const stack = await startReplicatedStack({
    shards,
    replicas,
    proxies,
    proxyKind,
    redis,
    sharded: true,
    synchronous: true,
    setupSql: registerSchema,
    poolSize: 12,
  })
  try {
    return await runOn(stack, options)
  } finally {
    await stack.stop()
  }
}

async function runOn(stack: ReplicatedStack, options: RunOptions): Promise<RunReport> {
  const { seed, keys, say } = options
  await createRegisters(stack.place(0), keys)
  const shardOf = await shardsOfRegisters(stack.shards)
  const world = new World(createRandom(seed), shardOf)
  const chaos = startChaos(stack, options)
  const startMs = performance.now()
  await operate(stack, world, options, chaos)
  const seconds = (performance.now() - startMs) / 1_000
  await chaos.stop()
  const { history, tally } = world
  say(`checking ${history.size} operations`)
  const finalState = await finalStateOf(stack.shards)
  const violations = checkHistory({ history, shardOf: (key) => shardOf[key] ?? 0, finalState })
  const operations = tally.writes + tally.reads.primary + tally.reads.replica + tally.reads.unknown
  const examples = [...tally.examples].map(([key, example]) => `  ${key}: ${example}`)
  const text = [
    `${operations} operations in ${seconds.toFixed(0)} s (${(operations / seconds).toFixed(0)}/s)`,
    `${tally.sessions} sessions, ${tally.handovers} handovers, tokens ${options.tokens}`,
    `reads: ${JSON.stringify(tally.reads)}, ${(tally.replicaShare * 100).toFixed(1)} % on replicas`,
    `chaos: ${chaos.text}`,
    `errors: ${tally.errorText}`,
    ...examples,
    `${violations.length} violations (seed ${seed})`,
    ...(violations.length === 0
      ? []
      : [describeAll(history, violations, (index) => world.noteOf(index))]),
  ].join('\n')
  const { replicaShare, misplaced } = tally
  const operationsPerSecond = operations / seconds
  return { operations, operationsPerSecond, replicaShare, misplaced, violations, text }
}

function startChaos(stack: ReplicatedStack, options: RunOptions): Chaos {
  const all = options.chaos === 'all'
  const { paceMs } = options
  const startMs = performance.now()
  const at = () => `${((performance.now() - startMs) / 1_000).toFixed(1).padStart(6)} s`
  const chaos = new Chaos({
    stack,
    seed: options.seed,
    say: (what) => options.say(`${at()}  ${what}`),
    shardFailureMs: all ? paceMs : null,
    redisFailureMs: all && options.redis ? paceMs * 1.5 : null,
    proxyFailureMs: all && options.proxyKind === 'program' ? paceMs * 2 : null,
  })
  chaos.start()
  return chaos
}

async function operate(
  stack: ReplicatedStack,
  world: World,
  options: RunOptions,
  chaos: Chaos,
): Promise<void> {
  const { tokens, redis, operations, workers, say } = options
  const places = Array.from({ length: stack.proxyCount }, (_, at) => stack.place(at))
  const prefix = `user-${randomBytes(4).toString('hex')}`
  const startMs = performance.now()
  const endMs = startMs + options.minutes * 60_000
  const isOver = () => world.history.size >= operations || performance.now() > endMs
  const progress = setInterval(() => {
    const { history, tally } = world
    const seconds = (performance.now() - startMs) / 1_000
    const rate = `${(history.size / seconds).toFixed(0)}/s`
    const share = `${(tally.replicaShare * 100).toFixed(0)} % of reads on replicas`
    say(`${seconds.toFixed(0).padStart(4)} s: ${history.size} (${rate}), ${share}, ${chaos.text}`)
    if (tally.errors.size > 0) say(`        errors: ${tally.errorText}`)
  }, progressMs)
  try {
    const shared = { world, places, tokens, redis, prefix }
    const working = Array.from({ length: workers }, (_, worker) =>
      work({ ...shared, worker }, isOver),
    )
    await Promise.all(working)
  } finally {
    clearInterval(progress)
  }
}
