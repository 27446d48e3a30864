// The kinds of values a setting can have. Values from the environment are always text, so numbers
// and switches are also read from text; durations and sizes always carry their unit.
import { isIP } from 'node:net'
import { z } from 'zod'
import type { Kind } from './setting.ts'

/** Text that is not empty. */
export function text(values = 'text'): Kind<z.ZodString> {
  return { schema: z.string().min(1), values }
}

/** A name as PostgreSQL takes it for users and databases: 1 to 63 bytes. */
export function pgName(values = 'name') {
  const schema = z
    .string()
    .min(1)
    .check(z.refine(fitsName, { error: 'longer than 63 bytes' }))
  return { schema, values }
}

/** Names as of `pgName`. */
export function nameList() {
  const schema = z.array(pgName().schema).readonly()
  return { schema, values: 'list of names' }
}

/** A shard's id: it becomes part of transaction names, so letters, digits, `_` and `-` only. */
export function shardName() {
  const error = 'a shard id has 1 to 32 letters, digits, "_" or "-", a letter first'
  return { schema: z.string().regex(/^[A-Za-z][\w-]{0,31}$/, { error }), values: 'name' }
}

/** A whole number. */
export function integer(min: number, max: number) {
  const schema = z.preprocess(numberOfText, z.int().min(min).max(max))
  return { schema, values: `${min} to ${max}` }
}

/** A number above 0. */
export function positive(max: number) {
  const schema = z.preprocess(numberOfText, z.number().positive().max(max))
  return { schema, values: `above 0, up to ${max}` }
}

/** `true` or `false`. */
export function flag() {
  const schema = z.preprocess((input) => flags.get(input) ?? input, z.boolean())
  return { schema, values: '`true`, `false`' }
}

/** One of a few words. */
export function choice<const W extends string>(...words: readonly W[]) {
  return { schema: z.enum(words), values: words.map((word) => `\`${word}\``).join(', ') }
}

/** The same kind, or null for "none". */
export function orNull<S extends z.ZodType>(kind: Kind<S>): Kind<z.ZodNullable<S>> {
  return { schema: z.nullable(kind.schema), values: `${kind.values}, \`null\`` }
}

/** Time with its unit, in milliseconds; `0` needs none. */
export function duration(range: { readonly minMs: number }) {
  const schema = z.unknown().transform((input, context) => {
    if (input === 0 || input === '0') return inRange(0)
    const [, digits, unit = ''] = /^(\d+) ?([a-zA-Zµ]*)$/.exec(String(input)) ?? []
    const unitMs = durationUnits.get(unit)
    if (digits === undefined || unitMs === undefined) {
      const remedy = digits === undefined ? 'write it like 50ms, 30s, 10m, 1h or 1d' : near(digits)
      return complain(context, `"${shown(input)}" is not a duration`, remedy)
    }
    return inRange(Number(digits) * unitMs)

    function near(digits: string) {
      if (unit === '') return `add a unit: ${digits}s or ${digits}ms`
      const known = [...durationUnits.keys()].find((key) => longNames[key]?.includes(unit))
      return `write ${digits}${known ?? 's'}; the units are ms, s, m, h, d`
    }
    function inRange(ms: number) {
      if (ms >= range.minMs && ms <= durationMsMax) return ms
      const limit = ms > durationMsMax ? 'at most 24d' : `at least ${range.minMs}ms`
      return complain(context, `must be ${limit}, found ${shown(input)}`)
    }
  })
  return { schema, values: range.minMs === 0 ? 'duration, `0` for none' : 'duration' }
}

/** Bytes with their unit; as in PostgreSQL every unit is a power of 1,024. */
export function size(min: number, max: number) {
  const schema = z.unknown().transform((input, context) => {
    const [, digits, unit = ''] = /^(\d+) ?([a-zA-Z]*)$/.exec(String(input)) ?? []
    const unitBytes = sizeUnits.get(unit)
    if (digits === undefined || unitBytes === undefined) {
      const known = [...sizeUnits.keys()].find((key) => key.toLowerCase() === unit.toLowerCase())
      const like = digits === undefined ? '64kB or 256MiB' : `${digits}${known ?? 'MiB'}`
      return complain(context, `"${shown(input)}" is not a size`, `write it like ${like}`)
    }
    const bytes = Number(digits) * unitBytes
    if (bytes >= min && bytes <= max) return bytes
    return complain(context, `must be between ${min} and ${max} bytes, found ${shown(input)}`)
  })
  return { schema, values: 'size' }
}

/** One name or a list of names. */
export function names(values: string) {
  const schema = z.unknown().transform((input, context): readonly string[] => {
    const listed: readonly unknown[] = Array.isArray(input) ? input : [input]
    if (listed.length === 0) return complain(context, 'names nobody', 'write all, or a name')
    return listed.map((name) => {
      if (typeof name === 'string' && name !== '' && fitsName(name)) return name
      return complain(context, `${shown(name)} is not a name`, 'put it in quotes')
    })
  })
  return { schema, values }
}

/** A network such as `10.0.0.0/8`, or one that this machine is in; null for `all`. */
export type Network =
  | {
      readonly family: 'ipv4' | 'ipv6'
      readonly address: string
      readonly prefixBits: number
    }
  | { readonly family: 'samehost' | 'samenet' }

/** `all`, an address, a network in CIDR notation, or a network of this machine. */
export function network() {
  const schema = z.unknown().transform((input, context): Network | null => {
    if (input === 'all') return null
    if (input === 'samehost' || input === 'samenet') return { family: input }
    const [address = '', bits, ...more] = String(input).split('/')
    const family = isIP(address)
    const bitsMax = family === 4 ? 32 : 128
    const prefixBits = bits === undefined ? bitsMax : /^\d{1,3}$/.test(bits) ? Number(bits) : -1
    if (family !== 0 && more.length === 0 && prefixBits >= 0 && prefixBits <= bitsMax) {
      return { family: family === 4 ? 'ipv4' : 'ipv6', address, prefixBits }
    }
    const remedy = 'write all, or a network like 10.0.0.0/8 or ::1/128'
    return complain(context, `"${shown(input)}" is not a network`, remedy)
  })
  return { schema, values: '`all`, CIDR, `samehost`, `samenet`' }
}

/** A stored password: SCRAM (RFC 5803 as PostgreSQL writes it in pg_authid) or md5. */
export function verifier() {
  const scram =
    /^SCRAM-SHA-256\$[1-9]\d*:[A-Za-z0-9+/]+={0,2}\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$/
  const md5 = /^md5[0-9a-f]{32}$/
  const schema = z.unknown().transform((input, context) => {
    if (typeof input === 'string' && (scram.test(input) || md5.test(input))) return input
    const remedy = 'copy it in full from pg_authid.rolpassword, in quotes'
    return complain(context, 'is not a SCRAM-SHA-256 or md5 verifier', remedy)
  })
  return { schema, values: '`SCRAM-SHA-256$…`, `md5…`' }
}

/** A secret that signs; complaints say nothing of it but its length. */
export function secret(lengthMin: number) {
  const schema = z.string().check(
    z.refine((value) => value.length >= lengthMin, {
      error: `is shorter than ${lengthMin} characters`,
      params: { remedy: 'make one with: openssl rand -base64 33' },
    }),
  )
  return { schema, values: `text of ${lengthMin} characters or more` }
}

/** Names of SQL functions as a statement would write them, folded to lower case like there. */
export function functionNames() {
  const schema = z.unknown().transform((input, context): readonly string[] => {
    const remedy = 'write it like [now_in_utc, app.next_number]'
    if (!Array.isArray(input)) return complain(context, 'is not a list of functions', remedy)
    const names: readonly unknown[] = input
    return names.map((name) => {
      if (typeof name === 'string' && functionName.test(name)) return name.toLowerCase()
      return complain(context, `"${shown(name)}" is not the name of a function`, remedy)
    })
  })
  return { schema, values: 'list of `name`, `schema.name`' }
}

/** Reports a wrong value of a transform; the words must not repeat a secret. */
export function complain(context: z.RefinementCtx, message: string, remedy?: string): never {
  context.addIssue({ code: 'custom', message, params: { remedy } })
  return z.NEVER
}

function shown(input: unknown): string {
  return typeof input === 'object' && input !== null ? 'a list or mapping' : String(input)
}

function numberOfText(input: unknown): unknown {
  return typeof input === 'string' && /^\d+(\.\d+)?$/.test(input) ? Number(input) : input
}

function fitsName(name: string): boolean {
  return Buffer.byteLength(name) <= 63
}

const functionName = /^(?:[\p{L}_][\p{L}\d_$]*\.)?[\p{L}_][\p{L}\d_$]*$/u
const flags = new Map<unknown, boolean>([
  ['true', true],
  ['false', false],
])
/** Longest delay that a timer of Node takes. */
const durationMsMax = 2 ** 31 - 1
const durationUnits = new Map([
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
])
const longNames: Readonly<Record<string, readonly string[]>> = {
  ms: ['msec', 'msecs', 'millis', 'milliseconds', 'MS'],
  s: ['sec', 'secs', 'second', 'seconds', 'S'],
  m: ['min', 'mins', 'minute', 'minutes', 'M'],
  h: ['hr', 'hrs', 'hour', 'hours', 'H'],
  d: ['day', 'days', 'D'],
}
const sizeUnits = new Map([
  ['B', 1],
  ['kB', 1024],
  ['KiB', 1024],
  ['MB', 1024 ** 2],
  ['MiB', 1024 ** 2],
  ['GB', 1024 ** 3],
  ['GiB', 1024 ** 3],
])
