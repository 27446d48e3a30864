// pgjdbc's own tests: Maven Central has them with the driver's sources. Compiled once; run by JUnit's console launcher.
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cachedDirectory } from '../../../demo/cache-dir.ts'
import { runCommand } from '../../../demo/process.ts'
import type { Side } from './sides.ts'
import { runIn, suiteDatabase, type TestResult } from './suite-process.ts'

const version = '42.7.7'
const launcherVersion = '1.12.2'
/**
 * They need a server with certificates of theirs; are tens of thousands; are of no connection and slow; write without end until
 * the process that they were told at login is terminated, which behind a pooler is nobody's.
 */
const leftOut = [
  '--exclude-package=org.postgresql.test.ssl',
  '--exclude-classname=.*\\.(AutoRollback|AsciiStringInterner|BigDecimalByteConverter|PasswordUtil)Test',
  '--exclude-methodname=.*lockReleaseOnCancelFailure.*',
]

/** Gives the directory of the compiled tests. @throws when something cannot be had */
export function preparePgjdbc(): Promise<string> {
  return cachedDirectory(`suites-pgjdbc-${version}-1`, async (dir) => {
    await copyArtifact(dir, `org.postgresql:postgresql:${version}:tar.gz:jdbc-src`)
    await copyArtifact(
      dir,
      `org.junit.platform:junit-platform-console-standalone:${launcherVersion}`,
    )
    const archive = `postgresql-${version}-jdbc-src.tar.gz`
    await runCommand('tar', ['xzf', archive, '--strip-components=1'], { cwd: dir })
    const goals = ['test-compile', 'dependency:build-classpath', '-Dmdep.outputFile=classpath']
    await runMaven(dir, ['-DskipShadeDependencies=true', ...goals])
    // Without it every connection of the tests says so.
    await writeFile(join(dir, 'build.local.properties'), '')
  })
}

async function copyArtifact(dir: string, artifact: string): Promise<void> {
  await runMaven(dir, ['dependency:copy', `-Dartifact=${artifact}`, `-DoutputDirectory=${dir}`])
}

async function runMaven(dir: string, argv: readonly string[]): Promise<void> {
  await runCommand('mvn', ['-q', '-B', ...argv], { cwd: dir })
}

/** What became of every test, by class and name. */
export async function runPgjdbc(side: Side, dir: string): Promise<ReadonlyMap<string, TestResult>> {
  const reports = join(dir, `reports-${process.pid}-${side.name}`)
  await mkdir(reports)
  try {
    await runIn(dir, 'java', await javaArguments(side, dir, reports), {})
    const results = new Map<string, TestResult>()
    for (const file of await readdir(reports)) {
      readReport(await readFile(join(reports, file), 'utf8'), results)
    }
    return results
  } finally {
    await rm(reports, { recursive: true })
  }
}

async function javaArguments(side: Side, dir: string, reports: string): Promise<string[]> {
  const { host, port, user, password } = side
  const properties = {
    'build.properties.relative.path': '.',
    'test.url.PGHOST': host,
    'test.url.PGPORT': String(port),
    'test.url.PGDBNAME': suiteDatabase,
    user,
    password,
    privilegedUser: user,
    privilegedPassword: password,
  }
  const classes = ['target/classes', 'target/test-classes']
  const libraries = (await readFile(join(dir, 'classpath'), 'utf8')).trim()
  const launcher = `junit-platform-console-standalone-${launcherVersion}.jar`
  return [
    '-Xmx1g',
    ...Object.entries(properties).map(([name, value]) => `-D${name}=${value}`),
    ...['-cp', [launcher, ...classes, libraries].join(':')],
    ...['org.junit.platform.console.ConsoleLauncher', 'execute', '--details=none'],
    '--config=junit.jupiter.extensions.autodetection.enabled=true',
    '--config=junit.jupiter.execution.timeout.default=2m',
    '--scan-classpath=target/test-classes',
    ...leftOut,
    `--reports-dir=${reports}`,
  ]
}

function readReport(xml: string, results: Map<string, TestResult>): void {
  const cases =
    /<testcase name="([^"]*)" classname="org\.postgresql\.([^"]*)"[^>]*>([^]*?)<\/testcase>/g
  for (const [, test = '', place = '', inside = ''] of xml.matchAll(cases)) {
    const said = inside.replaceAll(/<!\[CDATA\[[^]*?\]\]>/g, '')
    const failed = /<(?:failure|error)\b/.test(said)
    const skipped = /<skipped\b/.test(said)
    // Tests of a template differ by their number only, or by what they are given.
    const name = nameOf(`${place}.${test}`, results)
    results.set(name, { outcome: failed ? 'failed' : skipped ? 'skipped' : 'passed' })
  }
}

function nameOf(test: string, results: ReadonlyMap<string, TestResult>): string {
  for (let number = 2, name = test; ; number += 1) {
    if (!results.has(name)) return name
    name = `${test} #${number}`
  }
}
