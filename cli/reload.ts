// A running proxy reads its file again: SIGHUP of `serve`, RELOAD in the admin console. Applied are
// new shards of sharded databases and log.level; whatever else differs is named, and waits for a
// restart. A wrong file changes nothing.
import { readFile } from 'node:fs/promises'
import type { Config } from '../config/config.ts'
import { parseConfig } from '../config/document.ts'
import { loadConfig } from '../config/load.ts'
import { formatProblem, pathText } from '../config/problems.ts'
import { isMapping, type Path } from '../config/setting.ts'
import { type FileSettings, fileSchema } from '../config/settings.ts'
import type { ShardOptions } from '../proxy/database-options.ts'
import { CommandFailure } from './load-config.ts'
import { databaseOptions } from './proxy-options.ts'

/** What can be changed of a running proxy. */
export type Reloadable = {
  setLogLevel(level: Config['log']['level']): void
  /** All shards of the database in the order of the file: those of before and some new ones. */
  addShards(database: string, shards: readonly ShardOptions[]): Promise<void>
}

type Version = { readonly settings: FileSettings; readonly config: Config }

/** The file of a running proxy, and what of it is in force. */
export class ConfigReload {
  readonly #file: string
  readonly #target: Reloadable
  #inForce: FileSettings
  #running: Promise<unknown> = Promise.resolve()

  private constructor(file: string, target: Reloadable, inForce: FileSettings) {
    this.#file = file
    this.#target = target
    this.#inForce = inForce
  }

  /**
   * `target` runs with what stands in `file` now. @throws CommandFailure naming what is wrong with
   * it
   */
  static async watch(file: string, target: Reloadable): Promise<ConfigReload> {
    const { settings } = await readVersion(file)
    return new ConfigReload(file, target, settings)
  }

  /**
   * One sentence for each thing done and for each that needs a restart; runs of several callers
   * come one after the other. @throws CommandFailure naming everything that is wrong with the file;
   * nothing has changed then
   */
  async run(): Promise<readonly string[]> {
    const turn = this.#running.then(() => this.#apply())
    this.#running = turn.catch(() => undefined)
    return await turn
  }

  async #apply(): Promise<readonly string[]> {
    const { settings, config } = await readVersion(this.#file)
    const done: string[] = []
    const { level } = settings.log
    if (level !== this.#inForce.log.level) {
      this.#target.setLogLevel(level)
      this.#inForce = { ...this.#inForce, log: { ...this.#inForce.log, level } }
      done.push(`log.level is ${level} now`)
    }
    for (const [name, database] of Object.entries(settings.databases)) {
      const before = this.#inForce.databases[name]
      if (before === undefined || !mayGrow(before, database)) continue
      const known = new Set(before.shards.map(({ id }) => id))
      const fresh = database.shards.filter(({ id }) => !known.has(id))
      if (fresh.length === 0) continue
      const options = config.databases.find((each) => each.name === name)
      if (options === undefined) continue
      await this.#target.addShards(name, databaseOptions(options, config).shards)
      // What differs of the shards of before still does.
      const shards = database.shards.map((shard) => {
        return before.shards.find(({ id }) => id === shard.id) ?? shard
      })
      const databases = { ...this.#inForce.databases, [name]: { ...before, shards } }
      this.#inForce = { ...this.#inForce, databases }
      done.push(`database "${name}" has shard ${fresh.map(({ id }) => id).join(', ')} now`)
    }
    const later = differences(this.#inForce, settings, []).map((path) => {
      return `${pathText(path)} differs and needs a restart`
    })
    return [...done, ...later]
  }
}

type FileDatabase = FileSettings['databases'][string]

/** New shards may come anywhere but first; the others stay in their order. */
function mayGrow(before: FileDatabase, after: FileDatabase): boolean {
  if (before.sharding === undefined || after.sharding === undefined) return false
  const known = new Set(before.shards.map(({ id }) => id))
  const kept = after.shards.filter(({ id }) => known.has(id)).map(({ id }) => id)
  const [home] = before.shards
  return (
    home !== undefined &&
    after.shards[0]?.id === home.id &&
    kept.join('\0') === before.shards.map(({ id }) => id).join('\0')
  )
}

async function readVersion(file: string): Promise<Version> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new CommandFailure(`cannot read "${file}": ${String(cause)}`, { cause })
  })
  const loaded = loadConfig(text, { file, env: process.env })
  if (!loaded.ok) throw new CommandFailure(loaded.problems.map(formatProblem).join('\n'))
  // Under the names of the file, with defaults filled in: what is only written out differs in
  // nothing.
  const settings = fileSchema.parse(parseConfig(text, process.env).value ?? {})
  return { settings, config: loaded.config }
}

/**
 * Paths at which two versions differ, as deep as both have them; lists are compared as a whole,
 * shards by their id.
 */
function differences(before: unknown, after: unknown, path: Path): readonly Path[] {
  if (isMapping(before) && isMapping(after)) {
    const names = [...new Set([...Object.keys(before), ...Object.keys(after)])]
    return names.flatMap((name) => {
      const [old, now] = [before[name], after[name]]
      if (old === undefined && now === undefined) return []
      return differences(old, now, [...path, name])
    })
  }
  const shards = path.length === 3 && path[0] === 'databases' && path[2] === 'shards'
  if (shards && Array.isArray(before) && Array.isArray(after)) {
    const same = before.length === after.length
    return same ? before.flatMap((old, at) => differences(old, after[at], [...path, at])) : [path]
  }
  return JSON.stringify(before) === JSON.stringify(after) ? [] : [path]
}
