// PgBouncer's values as ringfence.yaml writes them, and what is gathered while they are read.
import type { IniEntry } from '../config/pgbouncer.ts'

/** Entries of the section [pgbouncer], by name. */
export type Settings = ReadonlyMap<string, IniEntry>

/** Gathers warnings and variables while lines are written. */
export type Notes = {
  readonly warn: (place: string, text: string) => void
  readonly variable: (user: string) => string
}

/** PgBouncer's times are seconds, with decimals. */
export function duration(seconds: string): string {
  const ms = Math.round(Number(seconds) * 1_000)
  return ms % 1_000 === 0 ? `${ms / 1_000}s` : `${ms}ms`
}

/** The same, or 0 for none. */
export function durationOrNone(seconds: string): string {
  return Number(seconds) === 0 ? '0' : duration(seconds)
}

/** PgBouncer's booleans are numbers as a rule. */
export function flag(value: string): string {
  return /^(?:1|t|true|y|yes|on)$/i.test(value) ? 'true' : 'false'
}

/** JSON's strings are YAML's, but for references to the environment. */
export function text(value: string): string {
  return JSON.stringify(value).replaceAll('${', '$$${')
}

/** Nothing of a value may end the comment that it stands in. */
export function oneLine(value: string): string {
  return value.replaceAll(/\s+/g, ' ')
}

/** Lines `name: value` of a section, those without a value left out; '' when none is left. */
export function section(
  head: string,
  pairs: readonly (readonly [string, string | undefined])[],
): string {
  const given = pairs.flatMap(([name, value]) => (value === undefined ? [] : `  ${name}: ${value}`))
  return given.length === 0 ? '' : `${head}:\n${given.join('\n')}\n`
}
