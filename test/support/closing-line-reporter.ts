// The very last line of `npm test`: "N passed, N failed". What fails outside of tests counts as
// failed too, and the line appears however the run ends: it is printed as the process exits. Above it each test that
// failed has a line of its own, so that the end of a long log tells what to look at.
import type { Reporter, TestModule, TestSuite } from 'vitest/node'

type Counts = { passed: number; failed: number; skipped: number }

/** Vitest reporter; vitest loads it by its path and wants a default export. */
export default class ClosingLineReporter implements Reporter {
  /** Null until the tests have ended. */
  #counts: Counts | null = null
  #failures: readonly string[] = []

  onInit(): void {
    process.once('exit', (code) => {
      const counts = this.#counts ?? { passed: 0, failed: 1, skipped: 0 }
      // Vitest found something to complain about that belongs to no test, such as servers that did
      // not stop.
      if (code !== 0 && counts.failed === 0) counts.failed = 1
      process.stdout.write([...this.#failures, closingLine(counts), ''].join('\n'))
    })
  }

  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0 }
    for (const module of modules) countModule(module, counts)
    this.#counts = counts
    this.#failures = [
      ...modules.flatMap(failuresOf),
      ...unhandledErrors.map((error) => `failed: outside of tests: ${firstLine(error)}`),
    ]
  }
}

function failuresOf(module: TestModule): readonly string[] {
  const { relativeModuleId: file, children } = module
  const suites = [...children.allSuites()].flatMap((suite) =>
    linesOf(suite.fullName, suite.errors()),
  )
  const tests = [...children.allTests('failed')].flatMap((test) =>
    linesOf(test.fullName, test.result().errors ?? []),
  )
  function linesOf(name: string, errors: readonly unknown[]): readonly string[] {
    const place = name === '' ? file : `${file} > ${name}`
    return errors.map((error) => `failed: ${place}: ${firstLine(error)}`)
  }
  return [...linesOf('', module.errors()), ...suites, ...tests]
}

function firstLine(error: unknown): string {
  const message = error instanceof Object && 'message' in error ? error.message : error
  return String(message).split('\n', 1)[0] ?? ''
}

function countModule(module: TestModule, counts: Counts): void {
  const failedBefore = counts.failed
  for (const test of module.children.allTests()) {
    const { state } = test.result()
    if (state === 'passed') counts.passed += 1
    else if (state === 'failed') counts.failed += 1
    else if (state === 'skipped') counts.skipped += 1
    // A test that never came to its end has not passed.
    else counts.failed += 1
  }
  const suites: (TestModule | TestSuite)[] = [module, ...module.children.allSuites()]
  for (const suite of suites) counts.failed += suite.errors().length
  if (module.state() === 'failed' && counts.failed === failedBefore) counts.failed += 1
}

function closingLine({ passed, failed, skipped }: Counts): string {
  const line = `${passed} passed, ${failed} failed`
  return skipped === 0 ? line : `${line}, ${skipped} skipped`
}
