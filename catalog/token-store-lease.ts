// The registry of proxies as one answer of Redis shows it, and what may be concluded from it. Pure: readings of the
// process' own monotonic clock come in, verdicts go out. Redis' clock is known through its answers only: what it said
// was true at some moment between question and answer.
import { assert } from '../core/assert.ts'

/** An answer of beatScript, with our own clock before the question and after the answer. */
export type RegistryView = {
  readonly sentAtMs: number
  readonly receivedAtMs: number
  readonly serverMs: number
  /** Tokens of another generation are void: part of their keys. */
  readonly generation: string
  /** Another one: somebody may still trust tokens of the generation before. */
  readonly era: string
  readonly bornMs: number
  /** Our lease was renewed. */
  readonly accepted: boolean
  /** We had not been in the registry before. */
  readonly newcomer: boolean
  /** Proxies whose entries were dropped just now. */
  readonly forgotten: readonly string[]
  readonly proxies: ReadonlyMap<string, RegistryEntry>
}

type RegistryEntry = { readonly deadlineMs: number; readonly incarnation: string }

/** The same for every proxy of a fleet. */
export type LeaseTerms = {
  readonly leaseMs: number
  /** What a replica that is read from may lack at most. */
  readonly replicaLagMaxMs: number
}

/** Own time from which, and until which, what tokens say may be believed. */
export type Trust = { readonly fromMs: number; readonly untilMs: number }

/** An entry that expired so long ago is dropped: its proxy is taken for dead. */
const forgetMs = 600_000
/** How much two clocks may differ in pace: a thousandth is far more than quartz does. */
const drift = 0.001
/** For rounding, and for corrections of Redis' clock by up to 50 ms: a longer step back begins a new generation. */
const marginMs = 100

/**
 * Believable while no registered proxy's lease can have expired: whoever cannot publish waits for the end of its own.
 * And only once the generation is so old that a replica has what was written before everybody used it.
 */
export function trustOf(view: RegistryView, terms: LeaseTerms): Trust {
  let endMs = Infinity
  for (const { deadlineMs } of view.proxies.values()) endMs = Math.min(endMs, deadlineMs)
  const leftMs = endMs - view.serverMs - 1
  const quarantineMs = terms.leaseMs + terms.replicaLagMaxMs + marginMs - ageMs(view)
  return {
    fromMs: view.receivedAtMs + Math.max(0, quarantineMs) / (1 - drift),
    untilMs: leftMs <= 0 ? -Infinity : view.sentAtMs + leftMs / (1 + drift),
  }
}

/** The generation is confirmed: not older than a lease. What is stored in it now will be found or made up for. */
export function confirms(view: RegistryView, nowMs: number, terms: LeaseTerms): boolean {
  return nowMs < view.sentAtMs + terms.leaseMs
}

/** Deadline to ask for, by the clock of Redis: absolute, so that a late delivery cannot prolong the lease. */
export function deadlineOf(view: RegistryView, nowMs: number, terms: LeaseTerms): number {
  return Math.floor(serverAtLeastMs(view, nowMs)) + terms.leaseMs
}

/** Own time when what was asked for or begun at `fromMs` has surely ended. */
export function leaseEndMs(fromMs: number, terms: LeaseTerms): number {
  return fromMs + terms.leaseMs / (1 - drift) + marginMs
}

/** Redis' clock has reached that for sure. */
export function serverAtLeastMs(view: RegistryView, nowMs: number): number {
  return view.serverMs + (nowMs - view.receivedAtMs) * (1 - drift)
}

/** What a beat says. `deadlineMs` 0: it only looks. */
export type Beat = {
  readonly proxyId: string
  readonly incarnation: string
  readonly deadlineMs: number
  /** Run ids of a cluster's nodes. */
  readonly runs: string
  /** All tokens are to become void. */
  readonly forcing: boolean
  readonly leaseMs: number
  /** The last one. */
  readonly view: RegistryView | undefined
}

/** Arguments of beatScript. */
export function beatArguments(beat: Beat): readonly string[] {
  const { proxyId, leaseMs, view } = beat
  // A registry that was lost is put together again from what each proxy knows of the others.
  const known = [...(view?.proxies ?? [])].filter(([id]) => id !== proxyId)
  return [
    proxyId,
    beat.incarnation,
    String(beat.deadlineMs),
    view?.generation ?? '',
    beat.runs,
    String(leaseMs),
    String(Math.max(forgetMs, leaseMs)),
    beat.forcing ? '1' : '0',
    view?.era ?? '',
    ...known.flatMap(([id, { incarnation }]) => [id, incarnation]),
  ]
}

/** @throws Error (a bug) when beatScript did not answer that. */
export function parseView(answer: unknown, sentAtMs: number, receivedAtMs: number): RegistryView {
  assert(Array.isArray(answer), 'a beat is answered by an array')
  const [serverMs, generation, era, bornMs, accepted, registered, forgotten, flat] = answer
  assert(Array.isArray(forgotten) && Array.isArray(flat), 'a beat is answered with the registry')
  const proxies = new Map<string, RegistryEntry>()
  for (let at = 0; at + 1 < flat.length; at += 2) {
    const field = String(flat[at])
    if (!field.startsWith('p:')) continue
    const [, deadline, incarnation] = /^(\d+) (.*)$/.exec(String(flat[at + 1])) ?? []
    assert(deadline !== undefined && incarnation !== undefined, 'an entry has a deadline')
    proxies.set(field.slice(2), { deadlineMs: Number(deadline), incarnation })
  }
  return {
    sentAtMs,
    receivedAtMs,
    serverMs: Number(serverMs),
    generation: String(generation),
    era: String(era),
    bornMs: Number(bornMs),
    accepted: accepted === '1',
    newcomer: registered === '0',
    forgotten: forgotten.map(String),
    proxies,
  }
}

function ageMs(view: RegistryView): number {
  return view.serverMs - view.bornMs
}

const leaseMsDefault = 2_000

/** Terms as configured. */
export function termsOf(options: {
  readonly leaseMs?: number
  readonly replicaLagMaxMs: number | null
  readonly ttlMs: number
}): LeaseTerms {
  return {
    leaseMs: options.leaseMs ?? leaseMsDefault,
    // Read at every use: a reload may have it grow.
    get replicaLagMaxMs() {
      return options.replicaLagMaxMs ?? options.ttlMs
    },
  }
}
