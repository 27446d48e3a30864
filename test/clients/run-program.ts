// Runs psql or pgbench against a target and takes what it says. The login goes by environment.
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { findProgram } from './find-program.ts'
import type { Target } from './program.ts'

/** What a program said and how it ended. */
export type Ran = { readonly stdout: string; readonly stderr: string; readonly exitCode: number }

const timeoutMs = 60_000

/** Runs `name` with `argv`, `input` on its standard input. Its exit code is an answer, no error. */
export async function runProgram(
  name: string,
  target: Target,
  argv: readonly string[],
  input = '',
): Promise<Ran> {
  const path = findProgram(name)
  if (path === undefined) throw new Error(`${name} is not installed`)
  const child = spawn(path, argv, { env: environment(target), timeout: timeoutMs })
  const ended = new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      if (code === null) reject(new Error(`${name} was ended by ${signal}`))
      else resolve(code)
    })
  })
  child.stdin.end(input)
  const [stdout, stderr, exitCode] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    ended,
  ])
  return { stdout, stderr, exitCode }
}

/** The environment by which libpq and most drivers find `target`. */
export function environment(target: Target): NodeJS.ProcessEnv {
  return {
    ...process.env,
    PGHOST: target.host,
    PGPORT: String(target.port),
    PGUSER: target.user,
    PGPASSWORD: target.password,
    PGDATABASE: target.database,
    PGSSLMODE: 'prefer',
    PGAPPNAME: 'clients',
    LC_ALL: 'C',
  }
}
