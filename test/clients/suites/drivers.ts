// Drivers' own test suites, on plain PostgreSQL and through Ringfence: node test/clients/suites/drivers.ts [--together] [name …]
// Every test must end alike on both sides, but for what known/drivers.json explains. Exit code 1 on any other difference.
// With --together both sides run at once, but for those whose tests cannot.
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { Client } from 'pg'
import { driverSuites } from './driver-suites.ts'
import { openSides, type Side } from './sides.ts'
import { suiteDatabase, type TestResult } from './suite-process.ts'

type Results = ReadonlyMap<string, TestResult>

const { values, positionals: names } = parseArgs({
  options: { together: { type: 'boolean', default: false } },
  allowPositionals: true,
})
const say = (line: string) => process.stdout.write(`${line}\n`)
const known = await readKnown()
let unexplained = 0
for (const suite of driverSuites) {
  if (names.length > 0 && !names.includes(suite.name)) continue
  const dir = await suite.prepare()
  await using opened = await openSides({
    version: 15,
    databases: [suiteDatabase, 'postgres'],
    settings: { max_prepared_transactions: 50 },
    prepare: prepareDatabase,
  })
  const results = new Map<string, Results>()
  const runOn = async (side: Side) => results.set(side.name, await suite.run(side, dir))
  if (values.together && suite.alone !== true) await Promise.all(opened.sides.map(runOn))
  else for (const side of opened.sides) await runOn(side)
  unexplained += report(suite.name, results.get('direct'), results.get('proxy'))
}
process.exitCode = unexplained === 0 ? 0 : 1

/** What the suites expect to find. */
async function prepareDatabase(urlOf: (database: string) => string): Promise<void> {
  await run(urlOf('postgres'), [`CREATE DATABASE ${suiteDatabase} TEMPLATE template0`])
  const extensions = ['hstore', 'ltree'].map((name) => `CREATE EXTENSION ${name}`)
  await run(urlOf(suiteDatabase), [...extensions, 'CREATE DOMAIN uint64 AS numeric(20, 0)'])
}

async function run(url: string, statements: readonly string[]): Promise<void> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    for (const sql of statements) await client.query(sql)
  } finally {
    await client.end()
  }
}

/** Gives the number of differences that nothing explains. */
function report(suite: string, direct: Results = new Map(), proxied: Results = new Map()): number {
  const reasons = known.get(suite) ?? new Map<string, string>()
  const counts = { same: 0, 'failed on both': 0, explained: 0, different: 0 }
  for (const test of new Set([...direct.keys(), ...proxied.keys()])) {
    const [before, after] = [direct.get(test), proxied.get(test)]
    const alike = before?.outcome === after?.outcome && before?.text === after?.text
    const reason = reasons.get(test)
    if (alike && reason !== undefined)
      say(`${suite} ${test}: a difference is listed, there is none`)
    if (alike) {
      counts[before?.outcome === 'failed' ? 'failed on both' : 'same'] += 1
    } else if (reason !== undefined) {
      counts.explained += 1
    } else {
      counts.different += 1
      say(`${suite} ${test}: ${before?.outcome ?? 'missing'} → ${after?.outcome ?? 'missing'}`)
    }
  }
  say(
    `${suite}: ${Object.entries(counts)
      .map(([what, n]) => `${n} ${what}`)
      .join(', ')}`,
  )
  // A suite that ran nothing has failed.
  return counts.same === 0 ? counts.different + 1 : counts.different
}

async function readKnown(): Promise<ReadonlyMap<string, ReadonlyMap<string, string>>> {
  const text = await readFile(new URL('known/drivers.json', import.meta.url), 'utf8')
  const suites: unknown = JSON.parse(text)
  if (typeof suites !== 'object' || suites === null) throw new Error('drivers.json: an object')
  return new Map(
    Object.entries(suites).map(([suite, tests]: [string, unknown]) => {
      const entries = Object.entries(typeof tests === 'object' && tests !== null ? tests : {})
      return [suite, new Map(entries.map(([test, reason]) => [test, String(reason)]))]
    }),
  )
}
