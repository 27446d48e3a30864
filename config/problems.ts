// What can be wrong with a file, for humans: where, what, and what to do about it.
import type { z } from 'zod'
import { nearest } from './nearest.ts'
import { aboutOf, namesOf, schemaAt, type Path } from './setting.ts'

/** One thing that is wrong; line and column count from 1. */
export type Problem = {
  readonly file: string
  readonly line: number
  readonly column: number
  /** Such as `databases.app.shards[0].primary`; empty for the file as a whole. */
  readonly path: string
  readonly message: string
  /** What to do about it, when that can be told. */
  readonly remedy: string | null
}

/** A complaint about the value at `path`; document.ts knows its line and column. */
export type Complaint = {
  readonly path: Path
  /** Whether the name at the end of `path` is wrong, or the value that stands there (default). */
  readonly at?: 'name' | 'value'
  readonly message: string
  readonly remedy: string | null
}

/** `ringfence.yaml:12:7  databases.app.pool.sise: unknown setting "sise"; did you mean "size"?` */
export function formatProblem(problem: Problem): string {
  const { file, line, column, path, message, remedy } = problem
  const text = remedy === null ? message : `${message}; ${remedy}`
  return `${file}:${line}:${column}  ${path === '' ? text : `${path}: ${text}`}`
}

/** Names and indexes as one reads them: `databases.app.shards[0].id`. */
export function pathText(path: Path): string {
  return path
    .map((segment) => (typeof segment === 'number' ? `[${segment}]` : `.${segment}`))
    .join('')
    .replace(/^\./, '')
}

/** What zod found, in our words. Values are shown only where they cannot be secrets. */
export function complaintsOf(issue: z.core.$ZodIssue, schema: z.core.$ZodType): Complaint[] {
  const path = issue.path.map((segment) => (typeof segment === 'symbol' ? '' : segment))
  const says = (message: string, remedy: string | null = null) => [{ path, message, remedy }]
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownSetting(path, key, schema))
    case 'invalid_type':
      return [wrongType(path, issue.expected, issue.input)]
    case 'invalid_value': {
      const words = issue.values.map(String)
      if (issue.input === undefined) return says('is missing', `write one of ${words.join(', ')}`)
      const near = typeof issue.input === 'string' ? nearest(issue.input, words) : null
      const message = `expected one of ${words.join(', ')}; found ${typeName(issue.input, true)}`
      return says(message, near === null ? null : `did you mean "${near}"?`)
    }
    case 'too_small': {
      if (issue.origin === 'string') return says('must not be empty')
      if (issue.origin === 'array') return says('needs at least one entry')
      const limit = `${issue.inclusive === false ? 'above' : 'at least'} ${issue.minimum}`
      return says(`must be ${limit}, found ${String(issue.input)}`)
    }
    case 'too_big':
      return says(`must be at most ${issue.maximum}, found ${String(issue.input)}`)
    case 'invalid_union':
      return says(`expected ${valuesAt(schema, path)}; found ${typeName(issue.input, true)}`)
    case 'custom': {
      const remedy: unknown = issue.params?.['remedy']
      return says(issue.message, typeof remedy === 'string' ? remedy : null)
    }
    default:
      return says(issue.message)
  }
}

function unknownSetting(path: Path, key: string, schema: z.core.$ZodType): Complaint {
  const names = namesOf(schemaAt(schema, path))
  const near = nearest(key, names)
  const inner = names.find((name) => namesOf(schemaAt(schema, [...path, name])).includes(key))
  const moved = inner === undefined ? null : `it belongs under "${inner}"`
  const listed = `known here: ${names.join(', ')}`
  const remedy = near === null ? (moved ?? listed) : `did you mean "${near}"?`
  return { path: [...path, key], at: 'name', message: `unknown setting "${key}"`, remedy }
}

function wrongType(path: Path, expected: string, input: unknown): Complaint {
  if (input === undefined) return { path, message: 'is missing', remedy: 'add it' }
  const wanted = typeNames.get(expected) ?? expected
  const quotes = expected === 'string' && typeof input !== 'object' ? 'put it in quotes' : null
  return {
    path,
    message: `expected ${wanted}; found ${typeName(input, expected !== 'string')}`,
    remedy: quotes,
  }
}

function typeName(input: unknown, showText: boolean): string {
  if (input === null) return 'nothing'
  if (Array.isArray(input)) return 'a list'
  if (typeof input === 'string') return showText ? `"${input}"` : 'text'
  if (typeof input === 'object') return 'a mapping'
  if (typeof input === 'number') return Number.isInteger(input) ? 'a number' : 'a fraction'
  return typeof input === 'boolean' ? `\`${input}\`` : typeof input
}

function valuesAt(schema: z.core.$ZodType, path: Path): string {
  return aboutOf(schemaAt(schema, path))?.values.replaceAll('`', '') ?? 'another value'
}

const typeNames = new Map([
  ['string', 'text'],
  ['int', 'a whole number'],
  ['number', 'a number'],
  ['boolean', 'true or false'],
  ['object', 'a mapping'],
  ['record', 'a mapping'],
  ['array', 'a list'],
])
