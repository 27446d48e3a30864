// The tests of node-postgres and of the packages that come with it, out of Debian's source package; what they import is npm's.
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cachedDirectory } from '../../../demo/cache-dir.ts'
import { runCommand } from '../../../demo/process.ts'
import { unpackOriginal } from './debian-source.ts'
import { readJunitReport } from './junit-report.ts'
import type { Side } from './sides.ts'
import { environmentOf, runIn, type TestResult } from './suite-process.ts'

const version = '8.16.3'
const debianVersion = `${version}+~cs35.24.27-5`
/** As the sources' own lock file has them, or as near as runs on today's Node. */
const packages = [
  ...[`pg@${version}`, 'pg-protocol@1.10.3', 'pg-pool@3.10.1', 'pg-cursor@2.15.3'],
  ...['async@2.6.4', 'bluebird@3.7.2', 'co@4.6.0', 'expect.js@0.3.1', 'lodash@4.17.21'],
  ...['pg-copy-streams@0.3.0', 'mocha@10.8.2'],
]

/** Some wait for the end of their connection, which a pooled client does not see. */
const programMs = 30_000

/** Gives the directory of the sources. @throws when something cannot be had */
export function prepareNodePostgres(): Promise<string> {
  return cachedDirectory(`suites-node-postgres-${version}-1`, async (dir) => {
    await unpackOriginal('sid', `node-postgres=${debianVersion}`, dir)
    // Otherwise npm would take all that builds and publishes the packages.
    await writeFile(join(dir, 'package.json'), '{}')
    await runCommand('npm', ['install', '--no-audit', '--no-fund', ...packages], { cwd: dir })
  })
}

/** Programs, each of some tests; then what runs under mocha. */
export async function runNodePostgres(
  side: Side,
  dir: string,
): Promise<ReadonlyMap<string, TestResult>> {
  const results = new Map<string, TestResult>()
  const pg = join(dir, 'packages/pg')
  const tables = ['script/create-test-tables.js']
  const env = environmentOf(side)
  await runIn({ side, dir: pg, command: process.execPath, argv: tables, env })
  const files = await readdir(join(pg, 'test/integration'), { recursive: true })
  for (const file of files.filter((name) => name.endsWith('-tests.js')).sort()) {
    const argv = [join('test/integration', file)]
    const program = { side, dir: pg, command: process.execPath, argv, env, timeoutMs: programMs }
    const { said, code } = await runIn(program)
    results.set(`pg ${file}`, { outcome: code === 0 ? 'passed' : 'failed' })
    for (const [, test = '', word] of said.matchAll(/^ {2}(\S.*?) (✔|FAILED!|\? - SKIPPED)$/gm)) {
      const outcome = word === '✔' ? 'passed' : word === 'FAILED!' ? 'failed' : 'skipped'
      results.set(`pg ${file} ${test}`, { outcome })
    }
  }
  for (const name of ['pg-pool', 'pg-cursor']) await runMocha(side, dir, name, results)
  return results
}

async function runMocha(
  side: Side,
  dir: string,
  name: string,
  results: Map<string, TestResult>,
): Promise<void> {
  const report = join(dir, `report-${process.pid}-${side.name}.xml`)
  const reporter = ['--reporter', 'xunit', '--reporter-option', `output=${report}`]
  const mocha = join(dir, 'node_modules/.bin/mocha')
  const argv = [mocha, '--exit', ...reporter]
  const env = environmentOf(side)
  const at = join(dir, 'packages', name)
  await runIn({ side, dir: at, command: process.execPath, argv, env })
  const found = new Map<string, TestResult>()
  readJunitReport(await readFile(report, 'utf8'), found)
  await rm(report)
  for (const [test, result] of found) results.set(`${name} ${test}`, result)
}
