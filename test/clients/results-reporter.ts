// Holds what the run saw against results/*.json, from which docs/compatibility.md is made: a step that is missing
// there, or went differently, fails the run. With RINGFENCE_CLIENT_RESULTS=write the files are written instead.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Reporter, TestCase, TestModule } from 'vitest/node'
import { type ClientResult, layouts, readResults } from '../../tools/client-results.ts'
import type { ClientRun } from './client-run.ts'

type Run = ClientResult['runs'][number]
type Seen = ClientRun & { readonly passed: boolean }

const folder = join(import.meta.dirname, 'results')

/** Vitest reporter; vitest loads it by its path and wants a default export. */
export default class ResultsReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()])
    const seen = tests.flatMap(seenBy)
    // Who asks for some tests only does not hear of the others.
    const whole = tests.every((test) => test.result().state !== 'skipped')
    const recorded = new Map(readResults(folder).map((result) => [result.client, result]))
    const complaints: string[] = []
    for (const [client, steps] of Map.groupBy(seen, (step) => step.client)) {
      const result = resultOf(steps)
      const before = recorded.get(client)
      if (process.env['RINGFENCE_CLIENT_RESULTS'] === 'write') write(result)
      else complaints.push(...differences(result, before, whole))
    }
    if (complaints.length === 0) return
    for (const complaint of complaints) process.stderr.write(`${complaint}\n`)
    const advice =
      'RINGFENCE_CLIENT_RESULTS=write writes test/clients/results, "npm run docs" the page'
    process.stderr.write(`${advice}\n`)
    process.exitCode = 1
  }
}

function seenBy(test: TestCase): Seen[] {
  const { clientRun } = test.meta()
  return clientRun === undefined ? [] : [{ ...clientRun, passed: test.result().state === 'passed' }]
}

/** The steps of one client as a file says them: a step is `same` if it was so on every PostgreSQL. */
function resultOf(steps: readonly Seen[]): ClientResult {
  const [first] = steps
  if (first === undefined) throw new Error('a client without steps')
  const { client, language, version, notes } = first
  const runs = layouts.flatMap((layout): Run[] => {
    const here = steps.filter((step) => step.layout === layout)
    if (here.length === 0) return []
    const versions = [...new Set(here.map((step) => step.postgres))].toSorted((a, b) => b - a)
    const byStep = Map.groupBy(here, ({ did }) => did)
    const did = [...byStep].map(([name, runsOfIt]): Run['steps'][number] => {
      const why = runsOfIt.find((run) => run.why !== undefined)?.why
      if (why !== undefined) return { did: name, result: 'differs', why }
      return { did: name, result: runsOfIt.every(({ passed }) => passed) ? 'same' : 'differs' }
    })
    return [{ layout, postgres: versions.join(', '), steps: did }]
  })
  return { client, language, version, notes, runs }
}

function write(result: ClientResult): void {
  const name = result.client.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-')
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(result, null, 2)}\n`)
}

function differences(
  result: ClientResult,
  before: ClientResult | undefined,
  whole: boolean,
): string[] {
  const { client } = result
  if (before === undefined) return [`${client} has no file in test/clients/results`]
  const complaints: string[] = []
  for (const word of ['version', 'notes', 'language'] as const) {
    // Versions of npm packages are fixed; those of the machine's own programs change with its updates.
    if (word === 'version' && result.language !== 'JavaScript') continue
    if (before[word] !== result[word])
      complaints.push(`${client}: ${word} is "${result[word]}", recorded is "${before[word]}"`)
  }
  for (const { layout, steps } of result.runs) {
    const known = before.runs.find((run) => run.layout === layout)?.steps ?? []
    for (const { did, result: now } of steps) {
      const then = known.find((step) => step.did === did)?.result ?? 'not recorded'
      if (then !== now) complaints.push(`${client}, ${layout}, "${did}": ${now}, was ${then}`)
    }
    for (const { did } of known) {
      const gone = whole && !steps.some((step) => step.did === did)
      if (gone) complaints.push(`${client}, ${layout}, "${did}": recorded, but not run`)
    }
  }
  return complaints
}
