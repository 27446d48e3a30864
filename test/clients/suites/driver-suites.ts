// Drivers whose own tests can be had from a package registry, and how to run them. Each runs against one side and tells what
// became of every test. What cannot be had is named in README.md.
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cachedDirectory } from '../../../demo/cache-dir.ts'
import { runCommand } from '../../../demo/process.ts'
import { prepareNodePostgres, runNodePostgres } from './node-suite.ts'
import { prepareDbdPg, runDbdPg } from './perl-suite.ts'
import { preparePgjdbc, runPgjdbc } from './pgjdbc-suite.ts'
import { preparePython, runPytest, runUnittest } from './python-suites.ts'
import { prepareTokioPostgres, runTokioPostgres } from './rust-suite.ts'
import type { Side } from './sides.ts'
import { postgresSources } from './sources.ts'
import { environmentOf, outcomeOf, runIn, suiteDatabase, type TestResult } from './suite-process.ts'

export type DriverSuite = {
  readonly name: string
  /** Gets and builds it; gives its directory. */
  readonly prepare: () => Promise<string>
  readonly run: (side: Side, dir: string) => Promise<ReadonlyMap<string, TestResult>>
  /** Its tests keep something in their directory. */
  readonly alone?: boolean
}

const versions = { pgx: 'v5.12.0', pq: 'v1.12.3' }
const psycopg2 = {
  ...{ name: 'psycopg2', version: '2.9.13', binary: 'psycopg2-binary' },
  tests: 'tests',
} as const
const asyncpg = { name: 'asyncpg', version: '0.32.0', needs: ['distro'], tests: 'tests' } as const
const pygresql = { name: 'pygresql', version: '6.2.3', tests: 'tests' } as const
const pg8000 = {
  ...{ name: 'pg8000', version: '1.31.6', tests: 'test' },
  needs: ['pytest', 'pytest-mock', 'pytest-timeout', 'pytz'],
} as const
/** They need a server that asks for other kinds of passwords; a web page; a program that measures. */
const pg8000LeftOut = ['auth', 'test_readme.py', 'test_benchmarks.py']

/** In the order of their running time. */
export const driverSuites: readonly DriverSuite[] = [
  { name: 'libpq_pipeline', prepare: preparePipeline, run: runPipeline },
  {
    name: 'psycopg2',
    prepare: () => preparePython(psycopg2),
    run: (side, dir) => {
      const main = "import tests, unittest; unittest.main('tests', 'test_suite', verbosity=2)"
      return runUnittest(side, dir, ['-c', main])
    },
  },
  {
    name: 'asyncpg',
    prepare: () => preparePython(asyncpg),
    run: (side, dir) => runUnittest(side, dir, ['-m', 'unittest', 'discover', '-v', '-t', '.']),
  },
  {
    name: 'pg8000',
    prepare: () => preparePython(pg8000),
    run: (side, dir) => {
      const leftOut = pg8000LeftOut.map((name) => `--ignore-glob=*/${name}`)
      return runPytest(side, dir, ['test', ...leftOut])
    },
  },
  {
    name: 'PyGreSQL',
    prepare: () => preparePython(pygresql),
    run: (side, dir) => runUnittest(side, dir, ['-m', 'unittest', 'discover', '-v', '-t', '.']),
  },
  { name: 'node-postgres', prepare: prepareNodePostgres, run: runNodePostgres },
  { name: 'tokio-postgres', prepare: prepareTokioPostgres, run: runTokioPostgres },
  { name: 'DBD::Pg', prepare: prepareDbdPg, run: runDbdPg, alone: true },
  {
    name: 'pgx',
    prepare: () => prepareGo('github.com/jackc/pgx/v5', versions.pgx),
    run: runPgx,
  },
  {
    name: 'pq',
    prepare: () => prepareGo('github.com/lib/pq', versions.pq),
    // Its tests give each other 20 ms here and there.
    run: (side, dir) => runGo(side, dir, { GOMAXPROCS: '1' }),
  },
  { name: 'pgjdbc', prepare: preparePgjdbc, run: runPgjdbc },
]

async function preparePipeline(): Promise<string> {
  return (await postgresSources(15)).programs
}

async function runPipeline(side: Side, dir: string): Promise<ReadonlyMap<string, TestResult>> {
  const program = join(dir, 'libpq_pipeline')
  const results = new Map<string, TestResult>()
  const traces = await cachedDirectory(`suites-traces-${process.pid}-${side.name}`, async () => {})
  for (const test of (await runCommand(program, ['tests'])).trim().split('\n')) {
    const trace = join(traces, test)
    const argv = ['-r', '700', '-t', trace, test, `dbname=${suiteDatabase}`]
    const env = environmentOf(side)
    const { code } = await runIn({ side, dir: traces, command: program, argv, env })
    // Where requests and replies cross each other on the way, their order is nobody's promise.
    const ordered = !['pipelined_insert', 'uniqviol'].includes(test)
    const text = ordered ? withoutSource(await readFile(trace, 'utf8').catch(() => '')) : ''
    results.set(test, { outcome: code === 0 ? 'passed' : 'failed', text })
  }
  return results
}

/** Our own errors come from no file of PostgreSQL. */
function withoutSource(trace: string): string {
  return trace.replaceAll(/ F "SSSS" L "SSSS" R "SSSS"/g, '').replaceAll(/^B\t(\d+|NN)/gm, 'B')
}

function prepareGo(module: string, version: string): Promise<string> {
  const name = module.split('/').slice(0, 3).at(-1) ?? module
  return cachedDirectory(`suites-${name}-${version}-1`, async (dir) => {
    const at = join(dir, 'get')
    await mkdir(at)
    await writeFile(join(at, 'go.mod'), 'module suites\n')
    const argv = ['mod', 'download', '-json', `${module}@${version}`]
    const found: unknown = JSON.parse(await runCommand('go', argv, { cwd: at }))
    const has = typeof found === 'object' && found !== null && 'Dir' in found
    if (!has || typeof found.Dir !== 'string') throw new Error(`no sources of ${module}`)
    await cp(found.Dir, join(dir, 'module'), { recursive: true })
    await runCommand('chmod', ['-R', 'u+w', join(dir, 'module')])
  })
}

async function runPgx(side: Side, dir: string): Promise<ReadonlyMap<string, TestResult>> {
  const { host, port, user, password } = side
  const place = `host=${host} port=${port} user=${user} password=${password} dbname=${suiteDatabase}`
  return runGo(side, dir, { PGX_TEST_DATABASE: place, PGHOST: '', PGPORT: '', PGPASSWORD: '' })
}

async function runGo(
  side: Side,
  dir: string,
  more: Readonly<Record<string, string>>,
): Promise<ReadonlyMap<string, TestResult>> {
  const argv = ['test', '-count=1', '-p=1', '-json', '-timeout=14m', './...']
  const env = { ...environmentOf(side), ...more }
  const { said } = await runIn({ side, dir: join(dir, 'module'), command: 'go', argv, env })
  const results = new Map<string, TestResult>()
  for (const line of said.split('\n')) {
    const event = eventIn(line)
    if (event === null || !['pass', 'fail', 'skip'].includes(event.action)) continue
    results.set(event.name, { outcome: outcomeOf(event.action) })
  }
  return results
}

function eventIn(line: string): { action: string; name: string } | null {
  if (!line.startsWith('{')) return null
  const event: unknown = JSON.parse(line)
  if (typeof event !== 'object' || event === null) return null
  if (!('Action' in event) || !('Test' in event) || !('Package' in event)) return null
  const { Action: action, Test: test, Package: place } = event
  // Names of temporary directories are part of some tests' names.
  const name = String(test).replaceAll(/(\/tmp\/[A-Za-z]\w*?)\d+\//g, '$1/')
  return { action: String(action), name: `${String(place).split('/').at(-1)} ${name}` }
}
