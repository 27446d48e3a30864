// One run of pg_regress, for SQL scripts by psql or for specifications by isolationtester, against one side. Every test
// leaves what its client printed; whether that is what PostgreSQL's authors expect is told beside it.
import { spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { mkdir, readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { finished } from 'node:stream/promises'
import { Client } from 'pg'
import { makeServerDirectory, serverUser } from '../../../demo/server-user.ts'
import type { Side } from './sides.ts'
import type { PostgresSources } from './sources.ts'

export const suiteNames = ['regress', 'isolation'] as const
export type SuiteName = (typeof suiteNames)[number]

export type RunOptions = {
  readonly suite: SuiteName
  readonly side: Side
  readonly sources: PostgresSources
  readonly binDir: string
  /** Tests instead of the whole schedule. */
  readonly tests: readonly string[]
  /** Where results go; must not exist. */
  readonly dir: string
}

/** What the tests printed, by name. */
export type Results = ReadonlyMap<string, string>

/** The database that a suite connects to. */
export const databaseOf: Readonly<Record<SuiteName, string>> = {
  regress: 'regression',
  isolation: 'isolation_regression',
}

/** As pg_regress itself makes it; it would do that through the proxy, which serves no other database. */
export async function createDatabase(serverUrl: string, suite: SuiteName): Promise<void> {
  const name = databaseOf[suite]
  const client = new Client({ connectionString: serverUrl })
  await client.connect()
  try {
    await client.query(`CREATE DATABASE ${name} TEMPLATE template0`)
    for (const setting of ['lc_messages', 'lc_monetary', 'lc_numeric', 'lc_time']) {
      await client.query(`ALTER DATABASE ${name} SET ${setting} TO 'C'`)
    }
    await client.query(`ALTER DATABASE ${name} SET bytea_output TO 'hex'`)
    await client.query(`ALTER DATABASE ${name} SET timezone_abbreviations TO 'Default'`)
  } finally {
    await client.end()
  }
}

/** In seconds: a test that cancels its own server by its number waits that long, twice, where the number is nobody's. */
const waits = { PG_TEST_TIMEOUT_DEFAULT: '20' }

/** Runs the tests, in the database that is there, one after the other; `say` hears each line of pg_regress. */
export async function runSuite(options: RunOptions, say: (line: string) => void): Promise<Results> {
  const { suite, side, sources, binDir, tests, dir } = options
  await makeServerDirectory(dir)
  const input = join(sources.tree, 'src/test', suite)
  const schedule = join(input, suite === 'regress' ? 'parallel_schedule' : 'isolation_schedule')
  const program = suite === 'regress' ? 'pg_regress' : 'pg_isolation_regress'
  const argv = [
    `--inputdir=${input}`,
    `--outputdir=${dir}`,
    `--bindir=${binDir}`,
    `--dlpath=${sources.libraries}`,
    `--host=${side.host}`,
    `--port=${side.port}`,
    `--user=${side.user}`,
    `--dbname=${databaseOf[suite]}`,
    '--use-existing',
    '--max-connections=1',
    ...(tests.length === 0 ? [`--schedule=${schedule}`] : tests),
  ]
  const child = spawn(join(sources.programs, program), argv, {
    ...serverUser(),
    cwd: dir,
    env: { ...waits, PATH: `${binDir}:/usr/bin:/bin`, PGPASSWORD: side.password, LC_ALL: 'C' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const log = createWriteStream(join(dir, 'log'))
  let rest = ''
  const hear = (chunk: Buffer) => {
    log.write(chunk)
    const lines = `${rest}${chunk.toString()}`.split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) say(line)
  }
  child.stdout.on('data', hear)
  child.stderr.on('data', hear)
  await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  log.end()
  await finished(log)
  return readResults(join(dir, 'results'))
}

async function readResults(dir: string): Promise<Results> {
  await mkdir(dir, { recursive: true })
  const results = new Map<string, string>()
  for (const file of (await readdir(dir)).sort()) {
    if (!file.endsWith('.out')) continue
    results.set(basename(file, '.out'), await readFile(join(dir, file), 'latin1'))
  }
  return results
}
