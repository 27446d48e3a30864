// What a step of the leak checker is made of: the situation of its client, what it sends, and the settings that all steps
// play with.
import type { Random } from '../../support/random.ts'
import { type Command, execution, query } from './command.ts'

/** How the proxy pools. */
export type Mode = 'transaction' | 'session' | 'statement'

/** What decides what a client may do next. */
export type Situation = {
  readonly random: Random
  readonly mode: Mode
  /** Number of the client, for names and keys of its own. */
  readonly client: number
  /** Number of its lane, for what clients of a lane share. */
  readonly lane: number
  /** It may take a server for longer than a statement. */
  readonly mayHold: boolean
  /** Of its transaction, as ReadyForQuery tells it. */
  readonly status: string
}

/** One step; `holds`: it may keep a server. */
export type Step = { readonly command: Command; readonly holds: boolean }

/** Null when the situation has no room for it. */
export type Maker = (situation: Situation) => Step | null

const settings = {
  application_name: ["'one'", "'it''s'", "'two'"],
  work_mem: ["'1MB'", "'7MB'", '64'],
  statement_timeout: ["'1min'", "'77s'", 'DEFAULT'],
  DateStyle: ["'ISO, DMY'", "'SQL, MDY'", "'ISO, YMD'"],
  TimeZone: ["'UTC'", "'Asia/Tokyo'", "'Europe/Berlin'"],
  search_path: ['public', 'pg_catalog, public', 'other, public'],
  'app.a': ["'x'", "'y'"],
  default_transaction_isolation: ["'serializable'", "'read committed'"],
} as const satisfies Readonly<Record<string, readonly [string, ...string[]]>>

type Names = readonly [keyof typeof settings, ...(keyof typeof settings)[]]

/** Settings that are set and reset. */
export const settingNames: Names = [
  'application_name',
  'work_mem',
  'statement_timeout',
  'DateStyle',
  'TimeZone',
  'search_path',
  'app.a',
  'default_transaction_isolation',
]

/** A setting with a value as SQL writes it. */
export function chosenSetting(random: Random): { readonly name: string; readonly value: string } {
  const name = random.pick(settingNames)
  return { name, value: random.pick<string>(settings[name]) }
}

/** A query string; it counts to its first word. */
export function simple(sql: string, holds = false, what = firstWord(sql)): Step {
  return { command: query(what, sql), holds }
}

function firstWord(sql: string): string {
  return /^\w+/.exec(sql)?.[0].toUpperCase() ?? 'other'
}

/** The same whatever the situation. */
export function always(sql: string): Maker {
  return () => simple(sql)
}

/** Only where the client may keep a server. */
export function holding(sql: (situation: Situation) => string): Maker {
  return (situation) => (situation.mayHold ? simple(sql(situation), true) : null)
}

/** One statement in the extended protocol, with its Sync. */
export function extended(what: string, sql: string, rowsMax = 0): Command {
  return { what, messages: [...execution(sql, { rowsMax }), { kind: 'sync' }] }
}

/** The same step in the extended protocol, which takes no string of several statements. */
export function inParts({ command, holds }: Step, rowsMax: number): Step {
  const [only, ...more] = command.messages
  if (only?.kind !== 'query' || more.length > 0 || /;(?!\s*END)/.test(only.sql)) {
    return { command, holds }
  }
  return { command: extended('one statement, extended', only.sql, rowsMax), holds }
}
