// Statements and their durations out of a log's records. log_min_duration_statement writes both into one record;
// log_statement with log_duration writes two, which belong together by their session.
import type { LogRecord } from './log-records.ts'
import type { Observation } from './observation.ts'

const timed = /^duration: ([\d.]+) ms(?: {2}([\s\S]*))?$/
/** `statement`, `parse <unnamed>`, `bind S_1`, `execute S_1/portal`, `execute fetch from portal`. */
const worded = /^(statement|parse|bind|execute fetch from|execute)(?: [^:\n]*)?: ([\s\S]*)$/
/** Sessions that are waited for to tell a duration; beyond it the oldest is not. */
const sessionsMax = 10_000

/** Everything that was run; what other databases' sessions did is left out where the log tells them apart. */
export async function* loggedStatements(
  records: AsyncIterable<LogRecord>,
  database: string | null,
): AsyncGenerator<Observation> {
  // Statements without a duration so far, by session.
  const open = new Map<string, string>()
  for await (const { session, database: of, message } of records) {
    if (database !== null && of !== null && of !== '' && of !== database) continue
    const [, duration, rest = duration === undefined ? message : ''] = timed.exec(message) ?? []
    const timeMs = duration === undefined ? null : Number(duration)
    const [, word, sql = ''] = worded.exec(rest) ?? []
    const waiting = open.get(session)
    if (word === undefined) {
      if (timeMs === null || waiting === undefined) continue
      open.delete(session)
      yield { sql: waiting, calls: 1, timeMs }
      continue
    }
    if (word === 'statement' || word === 'execute') {
      if (waiting !== undefined) yield untimed(waiting)
      open.delete(session)
      if (timeMs !== null) yield { sql, calls: 1, timeMs }
      else open.set(session, sql)
    } else if (timeMs !== null) {
      // Parsing, binding and fetching more rows are time of the same statement, not another run.
      yield { sql, calls: 0, timeMs }
    }
    const [oldest] = open.size > sessionsMax ? open : []
    if (oldest === undefined) continue
    open.delete(oldest[0])
    yield untimed(oldest[1])
  }
  for (const sql of open.values()) yield untimed(sql)
}

function untimed(sql: string): Observation {
  return { sql, calls: 1, timeMs: null }
}
