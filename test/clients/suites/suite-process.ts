// Programs that run a driver's tests, and what becomes of the tests.
import { spawn } from 'node:child_process'
import type { Side } from './sides.ts'

/** `text`: what a test said, where that must be the same, too. */
export type TestResult = {
  readonly outcome: 'passed' | 'failed' | 'skipped'
  readonly text?: string
}

/** The database that the tests may use as they like. */
export const suiteDatabase = 'suite'

const timeoutMs = 1_500_000

/** How libpq and those that imitate it are told where to go. */
export function environmentOf({ host, port, user, password }: Side): Record<string, string> {
  const login = { PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password }
  return { ...login, PGDATABASE: suiteDatabase, PGSSLMODE: 'disable' }
}

type Ran = { readonly said: string; readonly code: number | null }

/** Runs a suite to its end. Its exit code is an answer, no error: some tests fail on both sides. */
export async function runIn(
  dir: string,
  command: string,
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<Ran> {
  const child = spawn(command, argv, {
    cwd: dir,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: timeoutMs,
  })
  const chunks: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk))
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  return { said: Buffer.concat(chunks).toString(), code }
}
