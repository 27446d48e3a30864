// The primary may be the last to show a commit. Its record is flushed and sent on before the transaction leaves the
// list of those in progress; with synchronous replication even the replica's answer is waited for in between. A session
// that saw such a commit on a replica, and goes on to the primary, would see an older state than before.
//
// So before its first statement there: is any transaction that the primary still counts as in progress already
// committed on a replica which has all that the session has seen? Then the primary is waited for. Asked over the
// monitor's connections, once for everybody who comes while the question before is on its way.
import type { Clock } from '../core/clock.ts'
import { pgError } from '../core/errors.ts'
import type { HostMonitor } from './host-monitor.ts'
import type { ShardMonitor } from './shard-monitor.ts'

type Question = {
  running: Promise<readonly string[]> | null
  next: Promise<readonly string[]> | null
}

const waitMsMax = 1_000
const pauseMsMax = 10
const snapshotSql = 'SELECT pg_catalog.pg_current_snapshot()'
const xmaxSql = 'SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())'

export class Shown {
  readonly #monitor: ShardMonitor
  readonly #clock: Clock
  readonly #questions = new Map<HostMonitor, Question>()

  constructor(monitor: ShardMonitor, clock: Clock) {
    this.#monitor = monitor
    this.#clock = clock
  }

  /**
   * Resolves true once the primary shows what `witness`, a replica, has shown; false when one of the two could not be
   * asked. @throws PgError 40001 when the primary does not within a second
   */
  async until(shard: string, witness: HostMonitor): Promise<boolean> {
    try {
      const hidden = await this.#hidden(witness)
      if (hidden.length === 0) return true
      const untilMs = this.#clock.nowMs() + waitMsMax
      for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, pauseMsMax)) {
        const [count] = await this.#askPrimary(runningSql(hidden))
        if (count === '0') return true
        if (this.#clock.nowMs() > untilMs) break
        await new Promise<void>((resolve) => this.#clock.after(pauseMs, resolve))
      }
    } catch {
      return false
    }
    throw pgError('primaryBehind', [shard])
  }

  /** Transactions committed on `witness` and in progress on the primary, both as of later than the call. */
  #hidden(witness: HostMonitor): Promise<readonly string[]> {
    const question = this.#questions.get(witness) ?? { running: null, next: null }
    this.#questions.set(witness, question)
    if (question.next !== null) return question.next
    if (question.running === null) {
      question.running = this.#ask(witness, question)
      return question.running
    }
    const after = () => {
      question.next = null
      question.running = this.#ask(witness, question)
      return question.running
    }
    question.next = question.running.then(after, after)
    return question.next
  }

  async #ask(witness: HostMonitor, question: Question): Promise<readonly string[]> {
    try {
      const asked = [this.#askPrimary(snapshotSql), witness.ask(xmaxSql)] as const
      const [[snapshot = ''], [seen = '']] = await Promise.all(asked)
      const suspects = suspectsOf(snapshot, BigInt(seen))
      return suspects === null ? [] : await witness.ask(suspects)
    } finally {
      question.running = null
    }
  }

  #askPrimary(sql: string): Promise<readonly string[]> {
    const { primary } = this.#monitor
    if (primary === null) return Promise.reject(new Error('there is no primary'))
    return primary.ask(sql)
  }
}

/**
 * Asks a replica, whose snapshot ends before `end`, which of the primary's running transactions it has committed. Null
 * when none can be. What has begun later than anything that has completed on the primary may be running, too.
 */
function suspectsOf(snapshot: string, end: bigint): string | null {
  const [, xmax = '', list = ''] = snapshot.split(':')
  const begin = BigInt(xmax)
  const running = list === '' ? [] : list.split(',').filter((xid) => BigInt(xid) < end)
  if (running.length === 0 && begin >= end) return null
  const known = `pg_catalog.unnest('{${running.join()}}'::pg_catalog.int8[])`
  const later = `pg_catalog.generate_series(${begin}, ${end} - 1)`
  return `SELECT x FROM (SELECT ${known} AS x UNION ALL SELECT ${later}) AS suspects
    WHERE pg_catalog.pg_xact_status(x::pg_catalog.text::pg_catalog.xid8) = 'committed'`
}

function runningSql(xids: readonly string[]): string {
  return `SELECT pg_catalog.count(*)
    FROM pg_catalog.unnest('{${xids.join()}}'::pg_catalog.xid8[]) AS x
    WHERE pg_catalog.pg_xact_status(x) = 'in progress'`
}
