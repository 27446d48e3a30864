// A running proxy reads its file again: SIGHUP of `serve`, RELOAD in the admin console, `watch`. What can be applied is;
// whatever else differs is named and waits for a restart. A wrong file changes nothing.
import { readFile } from 'node:fs/promises'
import type { Config } from '../config/config.ts'
import { parseConfig } from '../config/document.ts'
import { loadConfig, loadValue } from '../config/load.ts'
import { formatProblem, pathText } from '../config/problems.ts'
import type { Path } from '../config/setting.ts'
import { takeOver } from '../config/take-over.ts'
import { PgError, pgError, toPgError } from '../core/errors.ts'
import type { Rows } from '../proxy/fleet.ts'
import { settingChanged, shownSettings } from './live-settings.ts'
import { CommandFailure } from './load-config.ts'

const internalError = 'XX000'

/** A file as it was read, and what it means. */
export type Version = {
  readonly file: string
  readonly text: string
  readonly config: Config
}

/** @throws CommandFailure naming everything that is wrong with it */
export async function readVersion(file: string): Promise<Version> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new CommandFailure(`cannot read "${file}": ${String(cause)}`, { cause })
  })
  return versionOf(file, text)
}

/** The version that stands in `text`. @throws CommandFailure */
export function versionOf(file: string, text: string): Version {
  const loaded = loadConfig(text, { file, env: process.env })
  if (!loaded.ok) throw new CommandFailure(loaded.problems.map(formatProblem).join('\n'))
  return { file, text, config: loaded.config }
}

/** The file of a running proxy, and what of it is in force. */
export class ConfigReload {
  readonly #file: string
  readonly #apply: (config: Config, text: string) => Promise<void>
  /** As written, environment variables filled in: of several files, what was applied of each. */
  #inForce: unknown
  #running: Promise<unknown> = Promise.resolve()

  /**
   * `apply` has a configuration take effect, or throws and leaves everything as it was; its `text` is a file that says
   * exactly that.
   */
  constructor({ file, text }: Version, apply: (config: Config, text: string) => Promise<void>) {
    this.#file = file
    this.#apply = apply
    this.#inForce = valueOf(text)
  }

  /**
   * Goes by `text`, or else by what stands in the file now. One sentence for each thing done and for each that needs a
   * restart; runs of several callers come one after the other. @throws CommandFailure naming everything that is wrong;
   * nothing has changed then
   */
  async run(text?: string): Promise<readonly string[]> {
    const turn = this.#running.then(() => this.#take(text))
    this.#running = turn.catch(() => undefined)
    return await turn
  }

  /** Settings in force, for SHOW CONFIG. */
  shown(): Rows {
    return shownSettings(this.#inForce)
  }

  /** Goes by another value of one setting until the file is read again. @throws PgError 55P02, 22023 */
  async set(key: string, value: string): Promise<readonly string[]> {
    try {
      return await this.run(textOf(settingChanged(this.#inForce, key, value)))
    } catch (error) {
      const { sqlstate, message } = toPgError(error)
      if (sqlstate !== internalError) throw error
      // Of the file that it would be, or of one that the value names, in this process or in a worker.
      const reason = error instanceof PgError || !(error instanceof Error) ? message : error.message
      throw pgError('adminValueInvalid', [key, reason], { cause: error })
    }
  }

  async #take(given: string | undefined): Promise<readonly string[]> {
    const file = this.#file
    const { text } = given === undefined ? await readVersion(file) : versionOf(file, given)
    const { value, applied, waiting, newShards } = takeOver(this.#inForce, valueOf(text))
    const mixed = loadValue(value, file)
    if (!mixed.ok) {
      const lines = mixed.problems.map(({ path, message }) => `${path}  ${message}`)
      throw new CommandFailure(
        `this needs a restart: without it the settings contradict each other\n${lines.join('\n')}`,
      )
    }
    // Though nothing differs: other files that it names, of passwords or certificates, may have changed.
    await this.#apply(mixed.config, textOf(value))
    this.#inForce = value
    return [
      ...applied.map((path) => sentence(path, value)),
      ...[...newShards].map(([name, ids]) => `database "${name}" has shard ${ids.join(', ')} now`),
      ...waiting.map((path) => `${pathText(path)} differs and needs a restart`),
    ]
  }
}

function sentence(path: Path, value: unknown): string {
  const [section, name] = path
  if (section !== 'databases' || path.length > 2) return `${pathText(path)} has changed`
  const databases: unknown = typeof value === 'object' ? Reflect.get(value ?? {}, 'databases') : {}
  const there =
    typeof databases === 'object' && databases !== null && Object.hasOwn(databases, String(name))
  return `database "${name}" is ${there ? 'served now' : 'not served any more'}`
}

/** JSON is YAML; what came from the environment is not looked up again. */
function textOf(value: unknown): string {
  return JSON.stringify(value).replaceAll('${', () => '$${')
}

function valueOf(text: string): unknown {
  return parseConfig(text, process.env).value ?? {}
}
