// Programs that run a driver's tests, and what becomes of the tests.
import { spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import type { Side } from './sides.ts'

/** `text`: what a test said, where that must be the same, too. */
export type TestResult = {
  readonly outcome: 'passed' | 'failed' | 'skipped'
  readonly text?: string
}

/** The database that the tests may use as they like. */
export const suiteDatabase = 'suite'

const longestMs = 1_500_000

/** How libpq and those that imitate it are told where to go. */
export function environmentOf({ host, port, user, password }: Side): Record<string, string> {
  const login = { PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password }
  return { ...login, PGDATABASE: suiteDatabase, PGSSLMODE: 'disable' }
}

type Program = {
  readonly side: Side
  /** Where it runs. What it says is written to `<side>.log` there. */
  readonly dir: string
  readonly command: string
  readonly argv: readonly string[]
  /** What its environment has besides. */
  readonly env?: Readonly<Record<string, string>>
  /** Its longest time; then it is ended. */
  readonly timeoutMs?: number
}

type Ran = { readonly said: string; readonly code: number | null }

/** Runs a suite to its end, or to that of its time. Its exit code is an answer, no error: some tests fail on both sides. */
export async function runIn(program: Program): Promise<Ran> {
  const { side, dir, command, argv, env, timeoutMs: timeout = longestMs } = program
  const child = spawn(command, argv, {
    cwd: dir,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout,
  })
  const log = createWriteStream(join(dir, `${side.name}.log`))
  const chunks: Buffer[] = []
  const hear = (chunk: Buffer) => {
    chunks.push(chunk)
    log.write(chunk)
  }
  child.stdout.on('data', hear)
  child.stderr.on('data', hear)
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  log.end()
  return { said: Buffer.concat(chunks).toString(), code }
}

/** What a test runner's word for an outcome means; any other word is a failure. */
export function outcomeOf(word: string | undefined): TestResult['outcome'] {
  if (word === 'skipped' || word === 'skip') return 'skipped'
  return word === 'ok' || word === 'pass' || word === 'expected failure' ? 'passed' : 'failed'
}
