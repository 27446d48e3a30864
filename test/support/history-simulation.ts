// A replicated store that exists only as arithmetic: a log per shard, replicas that have replayed a part of it, sessions
// with tokens. Its histories are correct while tokens are on; with tokens off they need not be.
import { History } from './history.ts'
import type { FinalState } from './history-values.ts'

/** One step; every number is taken modulo what there is. */
export type SimulationStep =
  | { readonly kind: 'read' | 'write'; readonly session: number; readonly key: number }
  | { readonly kind: 'lost'; readonly session: number; readonly key: number }
  | { readonly kind: 'replay'; readonly replica: number; readonly count: number }
  | { readonly kind: 'handover'; readonly session: number; readonly to: number }

export type TimedStep = {
  readonly step: SimulationStep
  /** Time from the call to the effect, and from the effect to the answer. */
  readonly beforeMs: number
  readonly afterMs: number
  readonly replica: number
}

const sizes = { sessions: 4, shards: 2, replicas: 2, keys: 6 } as const

/** Shard of a key of the simulation. */
export const simulatedShardOf = (key: number): number => key % sizes.shards

type Write = { readonly key: number; readonly version: number; readonly value: number }

/** Runs steps one after the other, overlapping in time where two sessions allow it. */
export function simulate(
  steps: readonly TimedStep[],
  tokens: 'on' | 'off',
): { readonly history: History; readonly finalState: FinalState } {
  return new Simulation(tokens).run(steps)
}

class Simulation {
  readonly #tokens: 'on' | 'off'
  readonly #history = new History()
  readonly #logs: Write[][] = Array.from({ length: sizes.shards }, () => [])
  /** By replica and shard how much of the log it has. */
  readonly #replayed = Array.from({ length: sizes.replicas }, () =>
    Array.from({ length: sizes.shards }, () => 0),
  )
  /** By session and shard how much of the log it needs. */
  readonly #token = Array.from({ length: sizes.sessions }, () =>
    Array.from({ length: sizes.shards }, () => 0),
  )
  readonly #freeAtMs = Array.from({ length: sizes.sessions }, () => 0)
  #attempts = 0

  constructor(tokens: 'on' | 'off') {
    this.#tokens = tokens
  }

  run(steps: readonly TimedStep[]): { history: History; finalState: FinalState } {
    steps.forEach((timed, at) => this.#step(timed, (at + 1) * 10))
    const log = this.#logs.flat()
    const versions = new Map<number, number>()
    for (const { key, version } of log) versions.set(key, version)
    return { history: this.#history, finalState: { log, versions } }
  }

  #step({ step, beforeMs, afterMs, replica }: TimedStep, nowMs: number): void {
    if (step.kind === 'replay') {
      const shards = this.#replayed[step.replica % sizes.replicas] ?? []
      const shard = Math.floor(step.replica / sizes.replicas) % sizes.shards
      const end = this.#logs[shard]?.length ?? 0
      shards[shard] = Math.min(end, (shards[shard] ?? 0) + step.count)
      return
    }
    const session = step.session % sizes.sessions
    const other = step.kind === 'handover' ? step.to % sizes.sessions : session
    const freeMs = Math.max(this.#freeAtMs[session] ?? 0, this.#freeAtMs[other] ?? 0)
    if (freeMs >= nowMs) return
    const invokedMs = Math.max(freeMs + 0.5, nowMs - beforeMs)
    const returnedMs = nowMs + afterMs
    this.#freeAtMs[session] = returnedMs
    this.#freeAtMs[other] = returnedMs
    if (step.kind === 'handover') {
      this.#history.handOver({ from: session, to: other, invokedMs, returnedMs })
      this.#mergeToken(session, other)
      return
    }
    const span = { session, key: step.key % sizes.keys, invokedMs, returnedMs }
    if (step.kind === 'read') this.#read(span, replica)
    else this.#write(span, step.kind === 'lost')
  }

  #mergeToken(from: number, to: number): void {
    const [source = [], target = []] = [this.#token[from], this.#token[to]]
    source.forEach((position, shard) => {
      target[shard] = Math.max(target[shard] ?? 0, position)
    })
  }

  #write(span: Span, lost: boolean): void {
    const shard = simulatedShardOf(span.key)
    const log = this.#logs[shard] ?? []
    this.#attempts += 1
    const value = this.#attempts
    const version = log.filter(({ key }) => key === span.key).length + 1
    log.push({ key: span.key, version, value })
    const told = lost
      ? ({ version: -1, outcome: 'unknown' } as const)
      : ({ version, outcome: 'ok' } as const)
    this.#history.add({ ...span, ...told, kind: 'write', value, place: 'primary' })
    const token = this.#token[span.session]
    if (!lost && token !== undefined) token[shard] = log.length
  }

  #read(span: Span, replica: number): void {
    const shard = simulatedShardOf(span.key)
    const log = this.#logs[shard] ?? []
    const token = this.#token[span.session] ?? []
    const needed = this.#tokens === 'on' ? (token[shard] ?? 0) : 0
    const reached = this.#replayed[replica % sizes.replicas]?.[shard] ?? 0
    const onReplica = reached >= needed
    const state = onReplica ? reached : log.length
    token[shard] = Math.max(token[shard] ?? 0, state)
    const seen = log.slice(0, state).findLast(({ key }) => key === span.key)
    const { version, value } = seen ?? { version: 0, value: 0 }
    const place = onReplica ? 'replica' : 'primary'
    this.#history.add({ ...span, kind: 'read', version, value, outcome: 'ok', place })
  }
}

type Span = {
  readonly session: number
  readonly key: number
  readonly invokedMs: number
  readonly returnedMs: number
}
