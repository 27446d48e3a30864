// From the text of ringfence.yaml to a Config, or to everything that is wrong with it at once:
// YAML → environment → zod → settings that are not supported yet → contradictions → secret files.
import { dirname } from 'node:path'
import { z } from 'zod'
import { buildConfig } from './build.ts'
import type { Config } from './config.ts'
import type { Contradiction } from './contradiction.ts'
import { contradictions } from './contradictions.ts'
import { parseConfig, type Placed, type Position } from './document.ts'
import { readSecretFiles } from './secret-files.ts'
import { complaintsOf, pathText, type Complaint, type Problem } from './problems.ts'
import { exampleOf, given, holds, isMapping, schemaAt, type Path } from './setting.ts'
import { fileSchema, type FileSettings } from './settings.ts'

/** What loading needs besides the text. */
export type LoadOptions = {
  /** Name under which problems are shown. */
  readonly file: string
  /** Where `${NAME}` is looked up. */
  readonly env: Readonly<Record<string, string | undefined>>
}

/** The Config, or everything that is wrong. */
export type Loaded =
  | {
      readonly ok: true
      readonly config: Config
      readonly warnings: readonly Problem[]
      /** Where a setting stands, or the nearest section around it that is in the file. */
      readonly positionOf: (path: Path) => Position
    }
  | {
      readonly ok: false
      readonly problems: readonly Problem[]
      /** What can be used all the same to look for more problems; null when too little is right. */
      readonly rest: Rest | null
    }

/** A file with problems: what is wrong is replaced by a default or an example at `wrongPaths`. */
type Rest = {
  readonly config: Config
  readonly wrongPaths: readonly Path[]
  readonly positionOf: (path: Path) => Position
}

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
  if (isText) return { ok: false, problems: show(document.problems), rest: null }
  const brokenPaths = document.problems.map(({ path }) => path).filter(({ length }) => length > 0)
  const verdict = judge(document.value ?? {}, brokenPaths)
  const directory = dirname(file)
  const secrets = verdict.settings === null ? null : readSecretFiles(verdict.settings, directory)
  const errors = [...verdict.errors, ...(secrets?.complaints ?? [])]
  const problems = [...document.problems, ...errors.map(place)]
  const config = secrets === null ? null : buildConfig(secrets.settings, directory)
  const positionOf = (path: Path) => document.positionOf(path)
  if (config === null || problems.length > 0) {
    const rest = config === null ? null : { config, wrongPaths: verdict.wrongPaths, positionOf }
    return { ok: false, problems: show(problems), rest }
  }
  return { ok: true, config, warnings: show(verdict.warnings.map(place)), positionOf }
}

/** What a file of that value would mean; for one that was put together from two. Places are not known. */
export function loadValue(
  value: unknown,
  file: string,
): { readonly ok: true; readonly config: Config } | Wrong {
  const directory = dirname(file)
  const { settings, errors } = judge(value, [])
  const secrets = settings === null ? null : readSecretFiles(settings, directory)
  const problems = [...errors, ...(secrets?.complaints ?? [])].map(({ path, message, remedy }) => {
    return { path: pathText(path), message, remedy }
  })
  if (secrets === null || problems.length > 0) return { ok: false, problems }
  return { ok: true, config: buildConfig(secrets.settings, directory) }
}

type Wrong = {
  readonly ok: false
  readonly problems: readonly Pick<Problem, 'path' | 'message' | 'remedy'>[]
}

type Verdict = {
  /** Repaired at `wrongPaths`; null when too little of the file is right. */
  readonly settings: FileSettings | null
  readonly wrongPaths: readonly Path[]
  readonly errors: readonly Complaint[]
  readonly warnings: readonly Complaint[]
}

/** `brokenPaths` are reported already: nothing more is said about the values there. */
function judge(value: unknown, brokenPaths: readonly Path[]): Verdict {
  const parsed = fileSchema.safeParse(value, { reportInput: true })
  const issues = parsed.error?.issues ?? []
  const invalid = issues.flatMap((issue) => complaintsOf(issue, fileSchema))
  const wrongPaths = [...invalid.map(({ path }) => path), ...brokenPaths]
  const later = notYet(value)
  const own = wrongPaths.length === 0 && parsed.success ? parsed.data : repair(value, wrongPaths)
  const found = [...later, ...(own === null ? [] : contradictions(own))].filter(
    ({ about }) => !about.some((path) => wrongPaths.some((at) => holds(at, path))),
  )
  const laterPaths = later.map(({ path }) => path)
  return {
    settings: later.length === 0 ? own : repair(value, [...wrongPaths, ...laterPaths]),
    wrongPaths,
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
  for (const path of wrongPaths) replaceAt(copy, path)
  return fileSchema.safeParse(copy).data ?? null
}

function replaceAt(copy: unknown, path: Path): void {
  const name = path.at(-1)
  if (name === undefined) return
  const parent = path.slice(0, -1).reduce(childOf, copy)
  const schema = schemaAt(fileSchema, path)
  const example = schema === undefined ? undefined : exampleOf(schema)
  if (Array.isArray(parent) && typeof name === 'number') parent[name] = example
  else if (isMapping(parent)) {
    if (example === undefined) delete parent[name]
    else parent[name] = example
  } else if (typeof parent === 'string') {
    // A value that abbreviates a mapping: nothing of it can be kept.
    replaceAt(copy, path.slice(0, -1))
  }
}

function childOf(parent: unknown, segment: string | number): unknown {
  if (Array.isArray(parent)) return parent[Number(segment)]
  return isMapping(parent) ? parent[segment] : undefined
}
