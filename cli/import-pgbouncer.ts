// `ringfence import-pgbouncer`: from pgbouncer.ini and its userlist.txt to a ringfence.yaml. Every database becomes one
// shard; what has no counterpart becomes a comment, and a warning where something is lost.
import { readFile, writeFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { type ListedUser, parseIni, parseUserList } from '../config/pgbouncer.ts'
import { convertPgbouncer } from './pgbouncer-file.ts'
import { CommandFailure } from './load-config.ts'

export type ImportOptions = {
  /** Null: standard output. */
  readonly output: string | null
  readonly force: boolean
  readonly json: boolean
}

/** Writes the file, warnings to stderr. Exit code 0. @throws CommandFailure for what cannot be read or written */
export async function importPgbouncerCommand(
  file: string,
  options: ImportOptions,
  out: (text: string) => void,
): Promise<number> {
  const { yaml, warnings, environment } = await converted(file)
  const { output, json, force } = options
  if (output !== null) {
    // Passwords may stand in it.
    await writeFile(output, yaml, { mode: 0o600, flag: force ? 'w' : 'wx' }).catch(
      (cause: unknown) => {
        throw new CommandFailure(`cannot write "${output}": ${reasonOf(cause)}`, { cause })
      },
    )
  }
  if (json) out(`${JSON.stringify({ output, warnings, environment, yaml })}\n`)
  else {
    for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`)
    if (environment.length > 0) {
      process.stderr.write(`set in the environment before it starts: ${environment.join(', ')}\n`)
    }
    out(
      output === null ? yaml : `wrote ${output}; go on with: ringfence check --config ${output}\n`,
    )
  }
  return 0
}

async function converted(file: string) {
  const text = await textOf(file)
  // PgBouncer takes names from the directory that it was started in, which nobody knows here.
  const near = (name: string) => textOf(resolve(dirname(file), name))
  try {
    const ini = await parseIni(text, file, near)
    const listed = ini.get('pgbouncer')?.findLast(({ name }) => name === 'auth_file')
    const users: readonly ListedUser[] =
      listed === undefined ? [] : parseUserList(await near(listed.value))
    return convertPgbouncer(ini, users, file)
  } catch (cause) {
    if (cause instanceof CommandFailure) throw cause
    throw new CommandFailure(reasonOf(cause), { cause })
  }
}

async function textOf(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((cause: unknown) => {
    throw new CommandFailure(`cannot read "${file}": ${reasonOf(cause)}`, { cause })
  })
}

function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause)
  return 'code' in cause && cause.code === 'EEXIST'
    ? 'it exists; --force overwrites it'
    : cause.message
}
