// What a running proxy can take over from a changed file: everything declared `applies: 'reload'`, new shards of a sharded
// database, and databases that come and go. The rest stays as it is until a restart. Pure: it compares two files as they are
// written, and gives the file that is in force from now on.
import { z } from 'zod'
import { aboutOf, bare, declarations, isMapping, type Path } from './setting.ts'
import { fileSchema } from './settings.ts'

/** What became of the differences. */
export type TakenOver = {
  /** The file to go on with: `after` where it can be applied, `before` where it cannot. */
  readonly value: unknown
  readonly applied: readonly Path[]
  /** Differs and needs a restart. */
  readonly waiting: readonly Path[]
  /** By the name of the database. */
  readonly newShards: ReadonlyMap<string, readonly string[]>
}

type Notes = {
  readonly applied: Path[]
  readonly waiting: Path[]
  readonly newShards: Map<string, readonly string[]>
}

/** `before` is in force, `after` is wanted; both are right, and environment variables are filled in. */
export function takeOver(before: unknown, after: unknown): TakenOver {
  const notes: Notes = { applied: [], waiting: [], newShards: new Map() }
  const value = merge(fileSchema, before, after, { path: [], notes })
  return { value, ...notes }
}

type At = { readonly path: Path; readonly notes: Notes }

function merge(schema: z.core.$ZodType, before: unknown, after: unknown, at: At): unknown {
  const inner = bare(schema)
  const isSection = inner instanceof z.ZodObject && !(schema instanceof z.ZodPipe)
  if (isSection && aboutOf(schema) === undefined) {
    const there = !mayLack(schema) || (isMapping(before) && isMapping(after))
    if (there) return mergeSection(inner, before, after, at)
  }
  if (inner instanceof z.ZodRecord) return mergeNames(inner.valueType, before, after, at)
  const areShards = at.path.length === 3 && at.path[0] === 'databases' && at.path[2] === 'shards'
  if (inner instanceof z.ZodArray && areShards) {
    return mergeShards(inner.element, before, after, at)
  }
  return whole(schema, before, after, at)
}

/** A setting, or a list that is taken over or left as one. */
function whole(
  schema: z.core.$ZodType,
  before: unknown,
  after: unknown,
  { path, notes }: At,
): unknown {
  if (meaning(schema, before) === meaning(schema, after)) return before
  const about = aboutOf(schema)
  const settings = declarations(schema).flatMap((each) => (each.kind === 'setting' ? [each] : []))
  const applies = about === undefined ? settings.map((each) => each.about.applies) : [about.applies]
  if (applies.every((each) => each === 'reload')) {
    notes.applied.push(path)
    return after
  }
  notes.waiting.push(path)
  return before
}

function mergeSection(schema: z.ZodObject, before: unknown, after: unknown, at: At): unknown {
  const merged: Record<string, unknown> = {}
  for (const [name, field] of Object.entries<z.core.$ZodType>(schema.shape)) {
    const within = { ...at, path: [...at.path, name] }
    const value = merge(field, childOf(before, name), childOf(after, name), within)
    if (value !== undefined) merged[name] = value
  }
  return merged
}

/** Databases come and go; other names are part of what needs a restart. */
function mergeNames(schema: z.core.$ZodType, before: unknown, after: unknown, at: At): unknown {
  const [old, now] = [isMapping(before) ? before : {}, isMapping(after) ? after : {}]
  const mayChange = at.path.length === 1 && at.path[0] === 'databases'
  const merged: Record<string, unknown> = {}
  for (const name of new Set([...Object.keys(now), ...Object.keys(old)])) {
    const within = { ...at, path: [...at.path, name] }
    const both = Object.hasOwn(old, name) && Object.hasOwn(now, name)
    if (both) merged[name] = merge(schema, old[name], now[name], within)
    else {
      at.notes[mayChange ? 'applied' : 'waiting'].push(within.path)
      const kept = mayChange ? now : old
      if (Object.hasOwn(kept, name)) merged[name] = kept[name]
    }
  }
  return merged
}

/** New shards may come anywhere but first; the others stay in their order. */
function mergeShards(
  schema: z.core.$ZodType,
  before: unknown,
  after: unknown,
  { path, notes }: At,
): unknown {
  const [old, now] = [listOf(before), listOf(after)]
  const known = new Set(old.map(idOf))
  const kept = now.filter((shard) => known.has(idOf(shard))).map(idOf)
  const fresh = now.filter((shard) => !known.has(idOf(shard))).map(idOf)
  const sameOrder = kept.join('\0') === old.map(idOf).join('\0') && idOf(now[0]) === idOf(old[0])
  if (!sameOrder) {
    notes.waiting.push(path)
    return before
  }
  const at = (id: string) => now.findIndex((shard) => idOf(shard) === id)
  const merged = now.map((shard) => {
    const former = old.find((each) => idOf(each) === idOf(shard))
    if (former === undefined) return shard
    return merge(schema, former, shard, { path: [...path, at(idOf(shard))], notes })
  })
  if (fresh.length > 0) notes.newShards.set(String(path[1]), fresh)
  return merged
}

/** Whether the section may be left out as such, or be null. */
function mayLack(schema: z.core.$ZodType): boolean {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable) return true
  return schema instanceof z.ZodPrefault && mayLack(schema.unwrap())
}

/** As the program understands it: what is only written differently is the same. */
function meaning(schema: z.core.$ZodType, value: unknown): string | undefined {
  const parsed = z.safeParse(schema, value)
  return JSON.stringify(parsed.success ? parsed.data : value)
}

function childOf(value: unknown, name: string): unknown {
  return isMapping(value) ? value[name] : undefined
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function idOf(shard: unknown): string {
  return String(childOf(shard, 'id'))
}
