// PostgreSQL's own regression and isolation suites, on plain PostgreSQL and through Ringfence:
//   node test/clients/suites/regress.ts [--suite regress|isolation] [--only test,test] [--side direct|proxy] [--noise 6]
// Every test must print the same on both sides, but for what is listed under known/. With --noise other clients use the
// same pool meanwhile. Exit code 1 on any other difference.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openToServers } from '../../../demo/server-user.ts'
import { differenceOf, explains, knownDifferences } from './known-differences.ts'
import { Noise } from './noise.ts'
import {
  createDatabase,
  databaseOf,
  type Results,
  runSuite,
  type SuiteName,
  suiteNames,
} from './pg-regress.ts'
import { openSides, type Side, type SideName } from './sides.ts'
import { postgresSources } from './sources.ts'

const { values } = parseArgs({
  options: {
    suite: { type: 'string' },
    only: { type: 'string', default: '' },
    side: { type: 'string' },
    noise: { type: 'string', default: '0' },
    keep: { type: 'string' },
    verbose: { type: 'boolean', default: false },
  },
})

/** The version whose suites Debian has; its server is the one under test. */
const version = 15
/** As few servers as the suite's sessions need at once: then nobody keeps one. */
const noisePoolSize: Record<SuiteName, number> = { regress: 5, isolation: 10 }
const noise = Number(values.noise)
const tests = values.only === '' ? [] : values.only.split(',')
const say = (line: string) => process.stdout.write(`${line}\n`)

const dir = values.keep ?? (await mkdtemp(join(tmpdir(), 'rf-suites-')))
await mkdir(dir, { recursive: true })
await openToServers(dir)
try {
  const suites = suiteNames.filter((name) => (values.suite ?? name) === name)
  const failures: number[] = []
  for (const suite of suites) failures.push(await compare(suite))
  process.exitCode = failures.some((count) => count > 0) ? 1 : 0
} finally {
  if (values.keep === undefined) await rm(dir, { recursive: true, force: true })
}

/** Gives the number of differences that nothing explains. */
async function compare(suite: SuiteName): Promise<number> {
  const sources = await postgresSources(version)
  const only = sideNamed(values.side)
  await using opened = await openSides({
    version,
    databases: [databaseOf[suite]],
    poolSize: noise > 0 ? noisePoolSize[suite] : 20,
    // Prepared transactions have numbers of their own: as pg_regress has them.
    settings: { max_prepared_transactions: 2 },
    only,
    prepare: (urlOf) => createDatabase(urlOf('postgres'), suite),
  })
  const results = new Map<SideName, Results>()
  // One after the other would be as good, but twice as long.
  const running = opened.sides.map(async (side) => {
    const to = join(dir, `${suite}-${side.name}`)
    const run = { suite, side, sources, binDir: opened.binDir, tests, dir: to }
    results.set(side.name, await besideNoise(side, suite, () => runSuite(run, hear(side))))
  })
  await Promise.all(running)
  const direct = results.get('direct')
  const proxied = results.get('proxy')
  if (direct === undefined || proxied === undefined) return 0
  return report(suite, direct, proxied)
}

function hear({ name }: Side): (line: string) => void {
  return (line) => {
    if (values.verbose) say(`${name} ${line}`)
  }
}

async function besideNoise<T>(side: Side, suite: SuiteName, run: () => Promise<T>): Promise<T> {
  if (noise === 0 || side.name === 'direct') return run()
  const others = new Noise(side, databaseOf[suite], noise)
  try {
    return await run()
  } finally {
    await others.stop()
  }
}

async function report(suite: SuiteName, direct: Results, proxied: Results): Promise<number> {
  const known = new Map([
    ...knownDifferences(suite),
    ...(noise > 0 ? knownDifferences(`${suite}-noise`) : []),
  ])
  let same = 0
  let unexplained = 0
  for (const name of new Set([...direct.keys(), ...proxied.keys()])) {
    const difference = differenceOf(direct.get(name) ?? '', proxied.get(name) ?? '')
    const expected = known.get(name)
    if (difference === '') {
      same += 1
      if (expected !== undefined) say(`${suite} ${name}: a difference is listed, there is none`)
    } else if (expected !== undefined && explains(expected, difference)) {
      say(`${suite} ${name}: differs as listed: ${expected.reason}`)
    } else {
      unexplained += 1
      say(`${suite} ${name}: DIFFERS\n${difference}\n`)
      if (values.keep !== undefined) await writeFile(join(dir, `${name}.diff`), `${difference}\n`)
    }
  }
  const explained = new Set([...direct.keys(), ...proxied.keys()]).size - same - unexplained
  say(`${suite}: ${same} tests the same, ${explained} explained, ${unexplained} different`)
  return unexplained
}

function sideNamed(name: string | undefined): SideName | undefined {
  return name === 'direct' || name === 'proxy' ? name : undefined
}
