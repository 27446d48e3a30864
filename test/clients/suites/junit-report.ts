// Reports in JUnit's XML, as JUnit's console launcher, pytest and others write them: what became of every test.
import type { TestResult } from './suite-process.ts'

/**
 * Adds the tests of a report to `results`, by class and name; `prefix` is what all classes begin with and no name needs. Tests of one
 * template have one name; they are numbered.
 */
export function readJunitReport(xml: string, results: Map<string, TestResult>, prefix = ''): void {
  const cases = /<testcase ([^>]*?)(?:\/>|>([^]*?)<\/testcase>)/g
  for (const [, attributes = '', inside = ''] of xml.matchAll(cases)) {
    const place = attributeOf(attributes, 'classname')
    const test = `${place.startsWith(prefix) ? place.slice(prefix.length) : place}.${attributeOf(attributes, 'name')}`
    // What a test printed may look like anything.
    const said = inside.replaceAll(/<!\[CDATA\[[^]*?\]\]>/g, '')
    const failed = /<(?:failure|error)\b/.test(said)
    const skipped = /<skipped\b/.test(said)
    results.set(nameOf(test, results), {
      outcome: failed ? 'failed' : skipped ? 'skipped' : 'passed',
    })
  }
}

function attributeOf(attributes: string, name: string): string {
  return new RegExp(`(?:^|\\s)${name}="([^"]*)"`).exec(attributes)?.[1] ?? ''
}

function nameOf(test: string, results: ReadonlyMap<string, TestResult>): string {
  for (let number = 2, name = test; ; number += 1) {
    if (!results.has(name)) return name
    name = `${test} #${number}`
  }
}
