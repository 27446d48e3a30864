// pgjdbc's own tests: Maven Central has them with the driver's sources. Compiled once; run by JUnit's console launcher.
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cachedDirectory } from '../../../demo/cache-dir.ts'
import { runCommand } from '../../../demo/process.ts'
import { readJunitReport } from './junit-report.ts'
import type { Side } from './sides.ts'
import { runIn, suiteDatabase, type TestResult } from './suite-process.ts'

const version = '42.7.7'
const launcherVersion = '1.12.2'
/**
 * They need a server with certificates of theirs; are tens of thousands; dial an address elsewhere; are of no connection and slow; write
 * without end until the process that they were told at login is terminated, which behind a pooler is nobody's.
 */
const leftOut = [
  '--exclude-package=org.postgresql.test.ssl',
  '--exclude-classname=.*\\.(AutoRollback|ConnectTimeout|AsciiStringInterner)Test',
  '--exclude-classname=.*\\.(BigDecimalByteConverter|PasswordUtil)Test',
  '--exclude-methodname=.*lockReleaseOnCancelFailure.*',
]
/** What runs at once: a part that hangs should not take the others along. */
const parts: readonly (readonly string[])[] = [
  optionsFor('exclude-package', ['jdbc2', 'jdbc3', 'jdbc4', 'jdbc42']),
  optionsFor('include-package', ['jdbc3', 'jdbc4', 'jdbc42']),
  ...['[A-C]', '[D-P]', '[Q-Z]'].map((letters) => [
    ...optionsFor('include-package', ['jdbc2']),
    `--include-classname=.*\\.${letters}[\\w$]*`,
  ]),
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

function optionsFor(option: string, packages: readonly string[]): readonly string[] {
  return packages.map((name) => `--${option}=org.postgresql.test.${name}`)
}

async function copyArtifact(dir: string, artifact: string): Promise<void> {
  await runMaven(dir, ['dependency:copy', `-Dartifact=${artifact}`, `-DoutputDirectory=${dir}`])
}

async function runMaven(dir: string, argv: readonly string[]): Promise<void> {
  await runCommand('mvn', ['-q', '-B', ...argv], { cwd: dir })
}

/** What became of every test, by class and name. */
export async function runPgjdbc(side: Side, dir: string): Promise<ReadonlyMap<string, TestResult>> {
  const results = new Map<string, TestResult>()
  // A test of the first part takes a port of its own: where both sides run at once, they begin at different ends.
  const inOrder = side.name === 'direct' ? parts : parts.toReversed()
  for (const [number, part] of inOrder.entries()) {
    const at = join(dir, `reports-${process.pid}-${side.name}-${number}`)
    await mkdir(at)
    try {
      await runPart({ side, dir, part, at }, results)
    } finally {
      await rm(at, { recursive: true })
    }
  }
  return results
}

type Part = {
  readonly side: Side
  readonly dir: string
  readonly part: readonly string[]
  /** Where the reports go. */
  readonly at: string
}

async function runPart(
  { side, dir, part, at }: Part,
  results: Map<string, TestResult>,
): Promise<void> {
  const argv = [...(await javaArguments(side, dir, at)), ...part]
  const { code } = await runIn({ side, dir, command: 'java', argv })
  // Reports are written when all is over.
  if (code === null) throw new Error(`pgjdbc ${part.join(' ')}: came to no end`)
  for (const file of await readdir(at)) {
    readJunitReport(await readFile(join(at, file), 'utf8'), results, 'org.postgresql.')
  }
}

async function javaArguments(side: Side, dir: string, reports: string): Promise<string[]> {
  const { host, port, user, password } = side
  const properties = {
    'build.properties.relative.path': '.',
    'test.url.PGHOST': host,
    'test.url.PGPORT': String(port),
    'test.url.PGDBNAME': suiteDatabase,
    // Reading from a socket is not interrupted by a test's time limit.
    'test.url.socketTimeout': '150',
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
    ...['org.junit.platform.console.ConsoleLauncher', 'execute'],
    ...['--details=verbose', '--disable-ansi-colors'],
    '--config=junit.jupiter.extensions.autodetection.enabled=true',
    '--config=junit.jupiter.execution.timeout.default=2m',
    '--scan-classpath=target/test-classes',
    ...leftOut,
    `--reports-dir=${reports}`,
  ]
}
