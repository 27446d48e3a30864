// Drivers of Python: the driver from PyPI, its tests out of the source package of the same version.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cachedDirectory } from '../../../demo/cache-dir.ts'
import { runCommand } from '../../../demo/process.ts'
import { readJunitReport } from './junit-report.ts'
import type { Side } from './sides.ts'
import { environmentOf, outcomeOf, runIn, suiteDatabase, type TestResult } from './suite-process.ts'

/** A driver and where its tests are. */
export type PythonDriver = {
  readonly name: string
  readonly version: string
  /** What to install, where that is not the package itself. */
  readonly binary?: string
  /** What its tests need besides. */
  readonly needs?: readonly string[]
  /** Folder of the source package that holds the tests. */
  readonly tests: string
}

/** Gives the directory that holds the tests' folder. @throws when something cannot be had */
export function preparePython(driver: PythonDriver): Promise<string> {
  const { name, version, binary = name, needs = [], tests } = driver
  return cachedDirectory(`suites-${name}-${version}-1`, async (dir) => {
    await runCommand('python3', ['-m', 'venv', join(dir, 'venv')])
    const pip = join(dir, 'venv/bin/pip')
    await runCommand(pip, ['-q', 'install', `${binary}==${version}`, 'tzdata', ...needs])
    const options = ['-q', '--no-deps', '--no-binary', name, '-d', dir]
    await runCommand(pip, ['download', ...options, `${name}==${version}`])
    const source = `${name}-${version}`
    const argv = ['--strip-components=1', `${source}/${tests}`]
    await runCommand('tar', ['xzf', join(dir, `${source}.tar.gz`), '-C', dir, ...argv])
  })
}

/** Runs tests of unittest, as `argv` tells Python to; they must be told verbosely. */
export async function runUnittest(
  side: Side,
  dir: string,
  argv: readonly string[],
): Promise<ReadonlyMap<string, TestResult>> {
  const env = { ...environmentOf(side), PSYCOPG2_TESTDB: suiteDatabase }
  const { said } = await runIn({ side, dir, command: join(dir, 'venv/bin/python'), argv, env })
  const results = new Map<string, TestResult>()
  // A test's own output may stand between its name and its outcome.
  const pattern =
    /^(test\w*) \(([\w.]+)\)[^\n]*?(?:\n(?!test\w* \()[^\n]*?)*?\.\.\. [^]*?(ok|FAIL|ERROR|skipped|expected failure)\b/gm
  for (const [, test = '', place = '', word] of said.matchAll(pattern)) {
    const name = place.endsWith(test) ? place : `${place}.${test}`
    results.set(name, { outcome: outcomeOf(word) })
  }
  return results
}

/** Runs tests of pytest; `argv` says which. */
export async function runPytest(
  side: Side,
  dir: string,
  argv: readonly string[],
): Promise<ReadonlyMap<string, TestResult>> {
  const report = join(dir, `report-${process.pid}-${side.name}.xml`)
  const options = ['-m', 'pytest', '-q', '--timeout=120', `--junit-xml=${report}`]
  const command = join(dir, 'venv/bin/python')
  await runIn({ side, dir, command, argv: [...options, ...argv], env: environmentOf(side) })
  const results = new Map<string, TestResult>()
  readJunitReport(await readFile(report, 'utf8'), results)
  return results
}
