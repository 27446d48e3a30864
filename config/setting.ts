// How a setting is declared: its zod schema with everything that load.ts, the "not yet" check and
// docs/configuration.md need to know of it. config/settings.ts holds the declarations themselves.
import { z } from 'zod'

/** A kind of value: its schema, and the values it takes in words of docs/configuration.md. */
export type Kind<S extends z.ZodType> = { readonly schema: S; readonly values: string }

/** Whether a changed value can apply to a running proxy. */
type Applies = 'reload' | 'restart'

/** Values that this version really behaves as; any other one is refused, never ignored. */
type Later = { readonly works: readonly unknown[]; readonly because: string }

/** What is declared of one setting. */
export type About = {
  readonly meaning: string
  readonly values: string
  /** As it would stand in the file; undefined when the setting is required. */
  readonly standard: unknown
  /** A value of the right kind, to go on checking with when the file's own is wrong. */
  readonly example: unknown
  readonly applies: Applies
  readonly later: Later | null
}

/** Place of a value in the file: names of mappings, indexes of lists. */
export type Path = readonly (string | number)[]

const declared = z.registry<About>()

type Declaration = {
  readonly meaning: string
  readonly applies: Applies
  readonly later?: Later
}

/** Declares a setting that has a default. */
export function setting<S extends z.ZodType>(
  kind: Kind<S>,
  about: Declaration & { readonly standard: z.util.NoUndefined<z.input<S>> },
): z.ZodPrefault<S> {
  const schema = z.prefault(kind.schema, about.standard)
  declared.add(schema, { later: null, values: kind.values, example: about.standard, ...about })
  return schema
}

/** Declares a setting that the file must give. */
export function required<S extends z.ZodType>(
  kind: Kind<S>,
  about: Declaration & { readonly example: z.input<S> },
): S {
  declared.add(kind.schema, { later: null, values: kind.values, standard: undefined, ...about })
  return kind.schema
}

/** One entry of the list of all declared settings; `<name>` and `[]` stand for any name or index. */
export type Declared =
  | { readonly kind: 'section'; readonly path: readonly string[]; readonly meaning: string }
  | { readonly kind: 'setting'; readonly path: readonly string[]; readonly about: About }

/** All settings under `schema` in the order of their declaration. */
export function declarations(schema: z.core.$ZodType, path: readonly string[] = []): Declared[] {
  const about = declared.get(schema)
  if (about !== undefined) return [{ kind: 'setting', path, about }]
  const inner = bare(schema)
  const meaning = z.globalRegistry.get(inner)?.description
  const here: Declared[] = meaning === undefined ? [] : [{ kind: 'section', path, meaning }]
  if (inner instanceof z.ZodObject) {
    for (const [name, child] of Object.entries<z.core.$ZodType>(inner.shape)) {
      here.push(...declarations(child, [...path, name]))
    }
  } else if (inner instanceof z.ZodArray) here.push(...declarations(inner.element, [...path, '[]']))
  else if (inner instanceof z.ZodRecord) {
    here.push(...declarations(inner.valueType, [...path, '<name>']))
  }
  return here
}

/** What is declared of the setting that has this schema. */
export function aboutOf(schema: z.core.$ZodType | undefined): About | undefined {
  return schema === undefined ? undefined : declared.get(schema)
}

/** Names that a section knows; empty where any name is taken. */
export function namesOf(schema: z.core.$ZodType | undefined): readonly string[] {
  const inner = schema === undefined ? undefined : bare(schema)
  return inner instanceof z.ZodObject ? Object.keys(inner.shape) : []
}

/** A setting that the file gives, with what stands there. */
export type Given = {
  readonly path: Path
  readonly about: About
  readonly schema: z.core.$ZodType
  readonly value: unknown
}

/** Every declared setting that stands in `value`, whatever else is wrong with it. */
export function given(schema: z.core.$ZodType, value: unknown, path: Path = []): Given[] {
  if (value === undefined) return []
  const about = declared.get(schema)
  if (about !== undefined) return [{ path, about, schema, value }]
  const inner = bare(schema)
  if (inner instanceof z.ZodArray) {
    const items: readonly unknown[] = Array.isArray(value) ? value : []
    return items.flatMap((item, index) => given(inner.element, item, [...path, index]))
  }
  if (!isMapping(value)) return []
  const children = Object.entries(value).map(([name, child]) => {
    const below = inner instanceof z.ZodRecord ? inner.valueType : fieldOf(inner, name)
    return below === undefined ? [] : given(below, child, [...path, name])
  })
  return children.flat()
}

/** A value that `schema` accepts, made of defaults and examples. */
export function exampleOf(schema: z.core.$ZodType): unknown {
  const about = declared.get(schema)
  if (about !== undefined) return about.standard === undefined ? about.example : about.standard
  if (schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional) return undefined
  const inner = bare(schema)
  if (inner instanceof z.ZodArray) return [exampleOf(inner.element)]
  if (!(inner instanceof z.ZodObject)) return {}
  const fields = Object.entries<z.core.$ZodType>(inner.shape)
  return Object.fromEntries(fields.map(([name, child]) => [name, exampleOf(child)]))
}

/** The schema that holds at `path`; undefined where nothing is declared. */
export function schemaAt(schema: z.core.$ZodType, path: Path): z.core.$ZodType | undefined {
  const [segment, ...rest] = path
  if (segment === undefined) return schema
  const inner = bare(schema)
  if (inner instanceof z.ZodArray) return schemaAt(inner.element, rest)
  if (inner instanceof z.ZodRecord) return schemaAt(inner.valueType, rest)
  const child = fieldOf(inner, String(segment))
  return child === undefined ? undefined : schemaAt(child, rest)
}

/** A mapping of the file, as plain data. */
export function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Whether `inner` is `outer` or a place within it. */
export function holds(outer: Path, inner: Path): boolean {
  return outer.every((segment, index) => inner[index] === segment)
}

function fieldOf(schema: z.core.$ZodType, name: string): z.core.$ZodType | undefined {
  if (!(schema instanceof z.ZodObject)) return undefined
  return Object.entries<z.core.$ZodType>(schema.shape).find(([field]) => field === name)?.[1]
}

/** The schema inside defaults, options and abbreviations: an object, a list, a record or a leaf. */
export function bare(schema: z.core.$ZodType): z.core.$ZodType {
  // z.preprocess: what may be written shorter is made whole before the object is read.
  if (schema instanceof z.ZodPipe) return bare(schema.out)
  const wrapped =
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable
  return wrapped ? bare(schema.unwrap()) : schema
}
