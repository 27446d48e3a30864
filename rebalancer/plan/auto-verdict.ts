// Whether `auto` mode should plan a move now: clock readings and the balance of late in, a verdict with its figures
// out. Hysteresis: it begins once the imbalance has been above `start` for `lastingMs`, and then goes on until it is
// below `stop`, so that it neither runs after every peak nor stops half way.

/** What was measured at one moment. */
export type BalancePoint = {
  /** Wall clock, ms since 1970. */
  readonly atMs: number
  readonly maxOverMean: number
  /** Of all shards: ms of server time per second. */
  readonly load: number
}

/** A daily window in minutes of the UTC day, end excluded; past midnight where it ends before it starts. */
type DailyWindow = { readonly startMinute: number; readonly endMinute: number }

export type AutoPolicy = {
  /** max/mean above which balancing begins. */
  readonly start: number
  /** max/mean below which it is done; at most `start`. */
  readonly stop: number
  /** How long it must have been above `start` without a break. */
  readonly lastingMs: number
  /** Under that load of all shards nobody suffers, however uneven it is. */
  readonly loadMin: number
  /** Bytes that may be moved within `budgetMs`; null: no limit. */
  readonly bytesMax: number | null
  readonly budgetMs: number
  /** When moves may begin; null: at any time. */
  readonly window: DailyWindow | null
}

export type AutoFacts = {
  readonly nowMs: number
  /** Oldest first; the last one is the present. */
  readonly history: readonly BalancePoint[]
  /** Moves of this mode that have been begun. */
  readonly moved: readonly { readonly atMs: number; readonly bytes: number }[]
  /** Any move, also one that an operator has begun. */
  readonly moveUnderWay: boolean
}

/** `rest`: nothing is to be done; `wait`: something is, but not now; `propose`: plan and run within `bytesMax`. */
export type AutoVerdict =
  | { readonly kind: 'rest' | 'wait'; readonly why: string }
  | { readonly kind: 'propose'; readonly bytesMax: number | null; readonly why: string }

const minuteMs = 60_000
const minutesPerDay = 1_440

/** What to do now, and why, in words with figures. */
export function autoVerdict(facts: AutoFacts, policy: AutoPolicy): AutoVerdict {
  const { nowMs, history, moveUnderWay } = facts
  const present = history.at(-1)
  if (present === undefined) return { kind: 'rest', why: 'nothing has been measured yet' }
  const { maxOverMean, load } = present
  if (moveUnderWay) return { kind: 'wait', why: 'a move is under way' }
  if (load < policy.loadMin) {
    const bound = `${figure(policy.loadMin)} ms/s`
    return { kind: 'rest', why: `all load is ${figure(load)} ms/s, under ${bound}` }
  }
  const now = `max/mean is ${figure(maxOverMean)}`
  if (maxOverMean < policy.stop) {
    return { kind: 'rest', why: `${now}, under ${figure(policy.stop)}` }
  }
  const begun = hasBegun(history, policy)
  if (!begun && maxOverMean <= policy.start) {
    return { kind: 'rest', why: `${now}, not above ${figure(policy.start)}` }
  }
  if (!begun) {
    const seconds = Math.round((nowMs - aboveSince(history, policy.start)) / 1_000)
    const needed = Math.round(policy.lastingMs / 1_000)
    return {
      kind: 'wait',
      why: `${now}, above ${figure(policy.start)} for ${seconds} s of ${needed} s`,
    }
  }
  if (policy.window !== null && !isWithin(policy.window, nowMs)) {
    return { kind: 'wait', why: `${now}; the window is ${windowText(policy.window)} UTC` }
  }
  return withinBudget(facts, policy, now)
}

function withinBudget({ nowMs, moved }: AutoFacts, policy: AutoPolicy, now: string): AutoVerdict {
  const { bytesMax, budgetMs } = policy
  if (bytesMax === null) return { kind: 'propose', bytesMax, why: now }
  const spent = moved
    .filter(({ atMs }) => atMs > nowMs - budgetMs)
    .reduce((sum, { bytes }) => sum + bytes, 0)
  const left = bytesMax - spent
  const budget = `${spent} of ${bytesMax} bytes moved in ${Math.round(budgetMs / minuteMs)} min`
  if (left <= 0) return { kind: 'wait', why: `${now}; ${budget}` }
  return { kind: 'propose', bytesMax: left, why: `${now}; ${budget}` }
}

/** True when it was above `start` for long enough at some time since it was last below `stop`. */
function hasBegun(history: readonly BalancePoint[], policy: AutoPolicy): boolean {
  let since: number | null = null
  let begun = false
  for (const { atMs, maxOverMean, load } of history) {
    if (maxOverMean < policy.stop || load < policy.loadMin) begun = false
    if (maxOverMean <= policy.start || load < policy.loadMin) {
      since = null
      continue
    }
    since ??= atMs
    begun ||= atMs - since >= policy.lastingMs
  }
  return begun
}

/** Begin of the run above `start` that ends with the history. */
function aboveSince(history: readonly BalancePoint[], start: number): number {
  const lastBelow = history.findLastIndex(({ maxOverMean }) => maxOverMean <= start)
  return history[lastBelow + 1]?.atMs ?? 0
}

function isWithin({ startMinute, endMinute }: DailyWindow, nowMs: number): boolean {
  const minute = Math.floor(nowMs / minuteMs) % minutesPerDay
  if (startMinute <= endMinute) return minute >= startMinute && minute < endMinute
  return minute >= startMinute || minute < endMinute
}

function windowText({ startMinute, endMinute }: DailyWindow): string {
  const text = (minute: number) =>
    `${String(Math.floor(minute / 60)).padStart(2, '0')}:${String(minute % 60).padStart(2, '0')}`
  return `${text(startMinute)}–${text(endMinute)}`
}

function figure(value: number): string {
  return value.toFixed(2)
}
