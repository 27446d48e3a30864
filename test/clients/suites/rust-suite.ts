// tokio-postgres' own tests: the crate has them. They know one server, on port 5433 and without a password; here the environment tells.
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cachedDirectory } from '../../../demo/cache-dir.ts'
import { runCommand } from '../../../demo/process.ts'
import type { Side } from './sides.ts'
import { environmentOf, outcomeOf, runIn, suiteDatabase, type TestResult } from './suite-process.ts'

const version = '0.7.16'
const features = [
  ...['array-impls', 'with-bit-vec-0_8', 'with-chrono-0_4', 'with-eui48-1'],
  ...['with-serde_json-1', 'with-time-0_3', 'with-uuid-1'],
]
const test = ['test', '-q', '--test', 'test', '--features', features.join(',')]

/** Gives the directory of the crate, its tests built. @throws when something cannot be had */
export function prepareTokioPostgres(): Promise<string> {
  return cachedDirectory(`suites-tokio-postgres-${version}-1`, async (dir) => {
    const at = join(dir, 'get')
    await mkdir(join(at, 'src'), { recursive: true })
    await writeFile(join(at, 'src/lib.rs'), '')
    const wanted = `[dependencies]\ntokio-postgres = "=${version}"\n`
    await writeFile(join(at, 'Cargo.toml'), `[package]\nname = "suites"\n${wanted}`)
    await runCommand('cargo', ['vendor', '-q'], { cwd: at })
    const crate = join(dir, 'crate')
    await cp(join(at, 'vendor/tokio-postgres'), crate, { recursive: true })
    await tellByEnvironment(join(crate, 'tests/test'))
    await runCommand('cargo', [...test, '--no-run'], { cwd: crate })
  })
}

/** What became of every test, by module and name. */
export async function runTokioPostgres(
  side: Side,
  dir: string,
): Promise<ReadonlyMap<string, TestResult>> {
  const argv = [...test, '--', '--test-threads=2', '--format=pretty']
  const env = environmentOf(side)
  const { said } = await runIn({ side, dir: join(dir, 'crate'), command: 'cargo', argv, env })
  const results = new Map<string, TestResult>()
  for (const [, name = '', word] of said.matchAll(
    /^test ([\w:]+)(?: - should panic)? \.\.\. (\w+)/gm,
  )) {
    results.set(name, { outcome: word === 'ignored' ? 'skipped' : outcomeOf(word) })
  }
  return results
}

async function tellByEnvironment(tests: string): Promise<void> {
  const told = (name: string) => `std::env::var("${name}").unwrap()`
  const login = (rest: string) =>
    `format!("password={} dbname=${suiteDatabase} {}", ${told('PGPASSWORD')}, ${rest})`
  await replaceIn(join(tests, 'main.rs'), [
    ['"127.0.0.1:5433"', `format!("127.0.0.1:{}", ${told('PGPORT')})`],
    ['let config = s.parse', `let config = ${login('s')}.parse`],
  ])
  const place = `&${login(`s.replace("5433", &${told('PGPORT')})`)}`
  await replaceIn(join(tests, 'runtime.rs'), [
    ['tokio_postgres::connect(s, NoTls)', `tokio_postgres::connect(${place}, NoTls)`],
  ])
}

async function replaceIn(file: string, changes: readonly [string, string][]): Promise<void> {
  let text = await readFile(file, 'utf8')
  for (const [before, after] of changes) {
    if (!text.includes(before)) throw new Error(`${file}: no ${before}`)
    text = text.replaceAll(before, after)
  }
  await writeFile(file, text)
}
