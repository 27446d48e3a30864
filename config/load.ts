// From the text of ringfence.yaml to a Config, or to everything that is wrong with it at once:
// YAML → environment → zod → settings that are not supported yet → contradictions.
import { z } from 'zod'
import { buildConfig } from './build.ts'
import type { Config } from './config.ts'
import { contradictions, type Contradiction } from './contradictions.ts'
import { parseConfig, type Placed, type Position } from './document.ts'
import { complaintsOf, pathText, type Complaint, type Problem } from './problems.ts'
import { exampleOf, given, isMapping, schemaAt, type Path } from './setting.ts'
import { fileSchema, type FileSettings } from './settings.ts'

export type LoadOptions = {
  /** Name under which problems are shown. */
  readonly file: string
  /** Where `${NAME}` is looked up. */
  readonly env: Readonly<Record<string, string | undefined>>
}

export type Loaded =
  | {
      readonly ok: true
      readonly config: Config
      readonly warnings: readonly Problem[]
      /** Where a setting stands, or the nearest section around it that is in the file. */
      readonly positionOf: (path: Path) => Position
    }
  | { readonly ok: false; readonly problems: readonly Problem[] }

/** Reads the whole file; problems come in the order of their lines. Never throws. */
export function loadConfig(text: string, { file, env }: LoadOptions): Loaded {
  const document = parseConfig(text, env)
  const place = (complaint: Complaint) => {
    return { ...complaint, ...document.positionOf(complaint.path, complaint.at) }
  }
  const show = (placed: readonly Placed[]) =>
    placed
      .toSorted((a, b) => a.line - b.line || a.column - b.column)
      .map(({ line, column, path, message, remedy }) => {
        return { file, line, column, path: pathText(path), message, remedy }
      })

  const isText = document.value === undefined && document.problems.length > 0
  if (isText) return { ok: false, problems: show(document.problems) }
  const brokenPaths = document.problems.map(({ path }) => path).filter(({ length }) => length > 0)
  const verdict = judge(document.value ?? {}, brokenPaths)
  const problems = [...document.problems, ...verdict.errors.map(place)]
  if (verdict.settings === null || problems.length > 0) {
    return { ok: false, problems: show(problems) }
  }
  return {
    ok: true,
    config: buildConfig(verdict.settings),
    warnings: show(verdict.warnings.map(place)),
    positionOf: (path) => document.positionOf(path),
  }
}

type Verdict = {
  /** Null when zod found something wrong. */
  readonly settings: FileSettings | null
  readonly errors: readonly Complaint[]
  readonly warnings: readonly Complaint[]
}

/** `brokenPaths` are reported already: nothing more is said about the values there. */
function judge(value: unknown, brokenPaths: readonly Path[]): Verdict {
  const parsed = fileSchema.safeParse(value, { reportInput: true })
  const issues = parsed.error?.issues ?? []
  const invalid = issues.flatMap((issue) => complaintsOf(issue, fileSchema))
  const wrongPaths = [...invalid.map(({ path }) => path), ...brokenPaths]
  const settings = wrongPaths.length === 0 && parsed.success ? parsed.data : null
  const found = [
    ...notYet(value),
    ...contradictionsIn(settings ?? repair(value, wrongPaths)),
  ].filter(({ about }) => !about.some((path) => wrongPaths.some((at) => holds(at, path))))
  return {
    settings,
    errors: [
      ...invalid.filter(({ path }) => !brokenPaths.some((at) => holds(at, path))),
      ...found.filter(({ severity }) => severity === 'error'),
    ],
    warnings: found.filter(({ severity }) => severity === 'warning'),
  }
}

/** Settings that would be ignored today if they were accepted. */
function notYet(value: unknown): Contradiction[] {
  return given(fileSchema, value).flatMap(({ path, about, schema, value }) => {
    const { later } = about
    const parsed = z.safeParse(schema, value)
    if (later === null || !parsed.success || later.works.includes(parsed.data)) return []
    const works = later.works.filter((word) => word !== null).map(String)
    const remedy = works.length === 0 ? 'remove it' : `remove it, or write ${works.join(', ')}`
    const message = `not supported yet: ${later.because}`
    return [{ severity: 'error' as const, path, about: [path], message, remedy }]
  })
}

/**
 * The file with defaults and examples where it is wrong, so that contradictions between its other
 * settings show in the same run. Null when too little is left of it.
 */
function repair(value: unknown, wrongPaths: readonly Path[]): FileSettings | null {
  const copy = structuredClone(value)
  for (const path of wrongPaths) {
    const name = path.at(-1)
    const parent = path.slice(0, -1).reduce(childOf, copy)
    const schema = schemaAt(fileSchema, path)
    const example = schema === undefined ? undefined : exampleOf(schema)
    if (Array.isArray(parent) && typeof name === 'number') parent[name] = example
    else if (isMapping(parent) && name !== undefined) {
      if (example === undefined) delete parent[name]
      else parent[name] = example
    }
  }
  return fileSchema.safeParse(copy).data ?? null
}

function childOf(parent: unknown, segment: string | number): unknown {
  if (Array.isArray(parent)) return parent[Number(segment)]
  return isMapping(parent) ? parent[segment] : undefined
}

function contradictionsIn(settings: FileSettings | null): readonly Contradiction[] {
  return settings === null ? [] : contradictions(settings)
}

function holds(outer: Path, inner: Path): boolean {
  return outer.every((segment, index) => inner[index] === segment)
}
