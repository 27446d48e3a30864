// What was seen of a database's traffic, wherever it was written down.

/** Runs of one text. */
export type Observation = {
  readonly sql: string
  readonly calls: number
  /** Server time of all of them; null when nobody measured it. */
  readonly timeMs: number | null
}

/** How a file of traffic is written. */
export type TrafficFormat = 'stderr' | 'csv' | 'json' | 'sql'

/** Format of a file that begins with `head`: at least its first lines. */
export function detectFormat(head: string): TrafficFormat {
  if (/^\s*\{"/.test(head)) return 'json'
  // log_time, user, database, process id: PostgreSQL manual, 19.8.4.
  if (/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? [^,\n]*,[^,\n]*,[^,\n]*,\d+,/m.test(head))
    return 'csv'
  return /(?:LOG|ERROR|FATAL|WARNING|DETAIL|HINT|STATEMENT):  /.test(head) ? 'stderr' : 'sql'
}
