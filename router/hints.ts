// Hints in comments, such as /* ringfence:primary, session_id=user-42 */. The lexer finds them; they
// are no part of a statement's template, so statements that differ in hints alone share a plan.
import type { Lexed } from './lexer.ts'
import { utf8Of } from './literals.ts'

/** What a string's hints ask for; they hold for all of its statements. */
export type Hints = {
  readonly target: 'primary' | 'replica' | null
  readonly consistency: 'session' | 'eventual' | 'strong' | null
  /** Without duplicates, in order. */
  readonly sessionIds: readonly string[]
}

/** `problem`: what of the hints could not be followed, for a warning; null when all could. */
export type ReadHints = { readonly hints: Hints | null; readonly problem: string | null }

const sessionIdsMax = 16
const sessionIdBytesMax = 128
const consistencies = ['eventual', 'session', 'strong'] as const
const none: ReadHints = { hints: null, problem: null }

/** Hints of a string's comments. What cannot be followed is left out, or made safer: never thrown. */
export function readHints({ raw, hints: spans }: Lexed): ReadHints {
  if (spans.length === 0) return none
  const gathered: Gathered = { target: null, consistency: null, ids: new Set(), problem: null }
  for (let at = 0; at < spans.length; at += 2) {
    const comment = raw.slice(spans[at], spans[at + 1])
    const body = comment.startsWith('/*') ? comment.slice(2, -2) : comment.slice(2)
    const words = body.split(/[\s,]+/).map((word) => word.replace(/^ringfence:/, ''))
    const asked = words.filter((word) => word !== '')
    if (asked.length === 0) gathered.problem ??= 'empty hint'
    for (const hint of asked) follow(gathered, hint)
  }
  const { target, consistency, ids, problem } = gathered
  return { hints: { target, consistency, sessionIds: [...ids] }, problem }
}

/** `sql` with blanks for its hints: what is the same but for hints becomes the same. */
export function blankHints(sql: Uint8Array, spans: readonly number[]): Uint8Array {
  const blanked = Uint8Array.from(sql)
  for (let at = 0; at < spans.length; at += 2) blanked.fill(0x20, spans[at], spans[at + 1])
  return blanked
}

type Gathered = {
  target: Hints['target']
  consistency: Hints['consistency']
  ids: Set<string>
  problem: string | null
}

function follow(gathered: Gathered, hint: string): void {
  const equals = hint.indexOf('=')
  const name = equals < 0 ? hint : hint.slice(0, equals)
  const value = equals < 0 ? null : hint.slice(equals + 1)
  if ((name === 'primary' || name === 'replica') && value === null) addTarget(gathered, name)
  else if (name === 'consistency' && value !== null) addConsistency(gathered, value)
  else if (name === 'session_id' && value !== null) addSessionId(gathered, value)
  else gathered.problem ??= `unknown hint "${shown(hint)}"`
}

function addTarget(gathered: Gathered, target: 'primary' | 'replica'): void {
  const other = gathered.target
  if (other !== null && other !== target) gathered.problem ??= 'hints for primary and for replica'
  if (other !== 'primary') gathered.target = target
}

/** The stricter one of several. */
function addConsistency(gathered: Gathered, value: string): void {
  const consistency = consistencies.find((known) => known === value)
  if (consistency === undefined) {
    gathered.problem ??= `unknown consistency "${shown(value)}" in a hint`
    return
  }
  const before = gathered.consistency
  if (before !== null && before !== consistency) gathered.problem ??= 'hints of two consistencies'
  const stricter =
    before === null || consistencies.indexOf(before) < consistencies.indexOf(consistency)
  if (stricter) gathered.consistency = consistency
}

/** A session that cannot be known has nothing to wait for: only the primary is sure to be right. */
function addSessionId(gathered: Gathered, raw: string): void {
  const { ids } = gathered
  const id = utf8Of(raw)
  if (raw === '') gathered.problem ??= 'empty session_id in a hint'
  else if (raw.length > sessionIdBytesMax) {
    gathered.problem ??= `session_id of more than ${sessionIdBytesMax} bytes in a hint`
  } else if (ids.size >= sessionIdsMax && !ids.has(id)) {
    gathered.problem ??= `more than ${sessionIdsMax} session_id hints`
  } else {
    ids.add(id)
    return
  }
  gathered.target = 'primary'
}

function shown(raw: string): string {
  return utf8Of(raw.slice(0, sessionIdBytesMax))
}
