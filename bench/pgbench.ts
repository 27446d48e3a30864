// pgbench, PostgreSQL's own load generator: what to run, and what its per-transaction log tells.
// The log (pgbench manual, "Per-Transaction Logging") rather than the summary: it says when each
// transaction ended, so that logging in and warming up can be left out of every figure.
import { spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { demoRole } from '../demo/roles.ts'
import { findProgram } from '../test/clients/find-program.ts'

/** One kind of load. */
export type Load = {
  readonly protocol: 'simple' | 'extended' | 'prepared'
  readonly clients: number
  /** The first so many clients take part, but only the others' transactions are measured. */
  readonly uncountedClients: number
  readonly script: { readonly builtin: 'tpcb-like' } | { readonly text: string }
  /** A new connection for every transaction. */
  readonly reconnects: boolean
  /** Encrypted between pgbench and the peer. */
  readonly tls: boolean
}

/** Where and how fast. */
export type PgbenchRun = Target & {
  readonly load: Load
  /** Transactions offered per second whether or not they are keeping up; null: as many as go. */
  readonly ratePerSecond: number | null
  readonly variables: Variables
  /** For its files, which are removed again. */
  readonly dir: string
}

type Target = {
  readonly program: string
  readonly port: number
  readonly database: string
  readonly signal: AbortSignal
}

/** Names in the script that stand for something else from peer to peer. */
type Variables = Readonly<Record<string, string>>

export type LoggedTransaction = {
  readonly client: number
  /** With an offered rate from the instant it should have started; null when it failed. */
  readonly latencyMicros: number | null
  /** Microseconds since 1970. */
  readonly endedMicros: number
}

/** Longest time for all clients to log in, and for the last transactions to end. */
const patienceMs = 120_000
/** It is told when to stop; should we be gone, it stops by itself. */
const secondsMax = 600
const threadsMax = 2

/** Path of pgbench: PATH first, then Debian's versions. Throws with what to install. */
export function findPgbench(): string {
  const program = findProgram('pgbench')
  if (program !== undefined) return program
  throw new Error(
    'pgbench was not found on PATH nor in /usr/lib/postgresql/*/bin: install it, ' +
      'for example with "apt-get install postgresql-contrib postgresql-client"',
  )
}

/**
 * Runs pgbench: when all clients have been at work for a second, `during` begins, and when it
 * resolves they stop. Throws with pgbench's own words when a client of it failed.
 */
export async function runPgbench<T>(
  run: PgbenchRun,
  during: () => Promise<T>,
): Promise<readonly [readonly LoggedTransaction[], T]> {
  const dir = await mkdtemp(join(run.dir, 'pgbench-'))
  try {
    const { script } = run.load
    if ('text' in script) await writeFile(scriptIn(dir), script.text)
    const child = startPgbench(run, argumentsOf(run, dir))
    try {
      await withinPatience(Promise.race([child.working, child.ended]))
      const result = await Promise.race([during(), child.ended.then(endedEarly)])
      child.finish()
      await withinPatience(child.ended)
      return [await readLogs(dir), result]
    } finally {
      child.kill()
    }
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

/** Creates and fills pgbench's own tables. */
export async function initializePgbench(target: Target, scale: number): Promise<void> {
  const steps = ['--initialize', '--init-steps=dtGvp', `--scale=${scale}`, '--quiet']
  await startPgbench({ ...target, load: { tls: false } }, steps).ended
}

/** The transactions of one log file; those that pgbench skipped are left out. */
export function parseLog(text: string): LoggedTransaction[] {
  const transactions: LoggedTransaction[] = []
  for (const line of text.split('\n')) {
    if (line === '') continue
    // client_id transaction_no time script_no time_epoch time_us [schedule_lag]
    const [client, , latency, , seconds, micros] = line.split(' ')
    if (latency === 'skipped') continue
    transactions.push({
      client: Number(client),
      latencyMicros: latency === 'failed' ? null : Number(latency),
      endedMicros: Number(seconds) * 1_000_000 + Number(micros),
    })
  }
  return transactions
}

/** What pgbench says went wrong: its first error, without the program's name. */
export function firstError(stderr: string): string {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '')
  const error = lines.find((line) => /\b(error|fatal):/i.test(line)) ?? lines.at(-1)
  return (error ?? 'it was killed').replace(/^pgbench: (error|fatal): /, '')
}

function argumentsOf({ load, ratePerSecond, variables }: PgbenchRun, dir: string): string[] {
  const { clients, protocol, script, reconnects } = load
  return [
    '--no-vacuum',
    '--progress=1',
    `--time=${secondsMax}`,
    `--client=${clients}`,
    `--jobs=${Math.min(clients, threadsMax)}`,
    `--protocol=${protocol}`,
    '--log',
    `--log-prefix=${join(dir, 'log')}`,
    'builtin' in script ? `--builtin=${script.builtin}` : `--file=${scriptIn(dir)}`,
    ...Object.entries(variables).map(([name, value]) => `--define=${name}=${value}`),
    ...(reconnects ? ['--connect'] : []),
    ...(ratePerSecond === null ? [] : [`--rate=${ratePerSecond}`]),
  ]
}

const scriptIn = (dir: string) => join(dir, 'script.sql')

type Pgbench = {
  /** Resolves a second after the last client has logged in. */
  readonly working: Promise<void>
  /** Rejects when pgbench reports an error. */
  readonly ended: Promise<void>
  /** Lets it end as if its time were over. */
  finish(): void
  kill(): void
}

type Start = Target & { readonly load: Pick<Load, 'tls'> }

function startPgbench(target: Start, argv: readonly string[]): Pgbench {
  const { program, port, database, signal, load } = target
  const login = ['--host=127.0.0.1', `--port=${port}`, `--username=${demoRole.name}`]
  const child = spawn(program, [...login, ...argv, database], {
    env: {
      PATH: process.env['PATH'],
      PGPASSWORD: demoRole.password,
      // Its default would ask for TLS first and take a round trip more to log in.
      PGSSLMODE: load.tls ? 'require' : 'disable',
      PGGSSENCMODE: 'disable',
      LC_MESSAGES: 'C',
    },
    stdio: ['ignore', 'ignore', 'pipe'],
    signal,
    killSignal: 'SIGKILL',
  })
  const working = Promise.withResolvers<void>()
  const ended = Promise.withResolvers<void>()
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString()
    // Its first report comes a second after the clients began together.
    if (said.includes('progress: ')) working.resolve()
  })
  child.once('error', (error) => ended.reject(error))
  child.once('close', (code) => {
    if (code === 0) ended.resolve()
    else ended.reject(new Error(firstError(said)))
  })
  // Who waits for the one may not have come to the other yet.
  ended.promise.catch(() => undefined)
  return {
    working: working.promise,
    ended: ended.promise,
    // The signal of its own timer (--time): transactions under way are finished and logged.
    finish: () => void child.kill('SIGALRM'),
    kill: () => void child.kill('SIGKILL'),
  }
}

async function readLogs(dir: string): Promise<readonly LoggedTransaction[]> {
  const logs = (await readdir(dir)).filter((name) => name.startsWith('log.'))
  const texts = await Promise.all(logs.map((name) => readFile(join(dir, name), 'utf8')))
  return texts.flatMap(parseLog)
}

function endedEarly(): never {
  throw new Error('pgbench ended before it was told to')
}

async function withinPatience(event: Promise<void>): Promise<void> {
  const over = new AbortController()
  const late = delay(patienceMs, undefined, { signal: over.signal }).then(() => {
    throw new Error(`no sign of pgbench for ${patienceMs / 1000} s`)
  })
  try {
    await Promise.race([event, late])
  } finally {
    over.abort()
  }
}
