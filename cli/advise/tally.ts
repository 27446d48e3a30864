// Observations summed up by statement: texts that differ in their values alone are one, with a sample kept.
import { Lexer } from '../../router/lexer.ts'
import { utf8Of } from '../../router/literals.ts'
import type { Judged, Judgement, RouteClass } from './judge.ts'
import type { Observation } from './observation.ts'

/** One statement with everything that was seen of it. */
export type Tallied = {
  /** Its text with `?` for values. */
  readonly text: string
  /** A text that was run. */
  readonly sample: string
  readonly judgement: Judgement
  readonly calls: number
  readonly timeMs: number | null
}

/** Distinct statements are kept up to here; what is new after that is counted as one. */
const distinctMax = 50_000
const rest = 'other statements'

/** Adds up; the order of adding does not matter. */
export class Tally {
  readonly #lexer = new Lexer()
  readonly #entries = new Map<string, Tallied>()

  add({ calls, timeMs }: Observation, judged: readonly Judged[]): void {
    for (const [at, { sql, judgement }] of judged.entries()) {
      // The time of a string of several statements cannot be divided: the last one has it.
      const time = at === judged.length - 1 ? timeMs : null
      const text = this.#textOf(sql)
      const key = `${judgement.class}\0${text}`
      const known = this.#entries.get(key)
      if (known === undefined && this.#entries.size >= distinctMax) {
        this.#put({ text: rest, sample: '', judgement, calls, timeMs: time })
      } else {
        this.#put({ text, sample: known?.sample ?? sql.trim(), judgement, calls, timeMs: time })
      }
    }
  }

  /** What takes most first, by time where it is known, else by calls. */
  get entries(): readonly Tallied[] {
    return [...this.#entries.values()].sort(
      (a, b) => (b.timeMs ?? 0) - (a.timeMs ?? 0) || b.calls - a.calls || order(a.text, b.text),
    )
  }

  #put(added: Tallied): void {
    const key = `${added.judgement.class}\0${added.text}`
    const known = this.#entries.get(key)
    const times = [known?.timeMs ?? null, added.timeMs].filter((time) => time !== null)
    const timeMs = times.length === 0 ? null : times.reduce((sum, time) => sum + time, 0)
    this.#entries.set(key, { ...added, calls: (known?.calls ?? 0) + added.calls, timeMs })
  }

  #textOf(sql: string): string {
    const { raw, literals } = this.#lexer.scan(Buffer.from(sql))
    let text = ''
    let end = 0
    for (let at = 0; at < literals.length; at += 3) {
      text += `${raw.slice(end, literals[at])}?`
      end = literals[at + 1] ?? end
    }
    const words = utf8Of(text + raw.slice(end)).replaceAll(/\s+/g, ' ')
    const lists = words.replaceAll(/(\?|\$\d+)(?:, ?(?:\?|\$\d+))+/g, '$1, …')
    return lists.replaceAll(/(\([^()]*\))(?:, ?\([^()]*\))+/g, '$1, …').trim()
  }
}

function order(a: string, b: string): number {
  return a < b ? -1 : 1
}

/** Sums of one class. */
export type ClassSum = {
  readonly class: RouteClass
  readonly distinct: number
  readonly calls: number
  /** Of the calls that were judged; 0 for what was not. */
  readonly share: number
  readonly timeMs: number
  readonly timeShare: number
}

/** Says nothing of where rows are. */
const unjudged: ReadonlySet<RouteClass> = new Set(['session', 'catalogs', 'unknown'])
const onOneShard: ReadonlySet<RouteClass> = new Set(['one shard', 'any shard', 'home shard'])

/** Sums by class, and what part of the judged traffic one shard alone would serve. */
export function sumsOf(entries: readonly Tallied[], classes: readonly RouteClass[]) {
  const judged = entries.filter(({ judgement }) => !unjudged.has(judgement.class))
  const total = totalOf(judged)
  const sums = classes.flatMap((each): ClassSum[] => {
    const own = entries.filter(({ judgement }) => judgement.class === each)
    if (own.length === 0) return []
    const { calls, timeMs } = totalOf(own)
    const counts = !unjudged.has(each)
    const share = counts ? ratio(calls, total.calls) : 0
    const timeShare = counts ? ratio(timeMs, total.timeMs) : 0
    return [{ class: each, distinct: own.length, calls, share, timeMs, timeShare }]
  })
  const single = totalOf(judged.filter(({ judgement }) => onOneShard.has(judgement.class)))
  return {
    calls: total.calls,
    timed: entries.some(({ timeMs }) => timeMs !== null),
    classes: sums,
    onOneShard: {
      share: ratio(single.calls, total.calls),
      timeShare: ratio(single.timeMs, total.timeMs),
    },
  }
}

function totalOf(entries: readonly Tallied[]) {
  return {
    calls: entries.reduce((sum, { calls }) => sum + calls, 0),
    timeMs: entries.reduce((sum, { timeMs }) => sum + (timeMs ?? 0), 0),
  }
}

function ratio(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole
}
