// The closing line counts everything that failed, inside and outside of tests, and lines above it name it. Each case is a
// run of its own.
import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const importLine = `import { beforeAll, describe, expect, it } from 'vitest'\n`

const cases = [
  {
    what: 'tests that pass, fail and are skipped',
    source: `it('a', () => {}); it('b', () => { expect(1).toBe(2) }); it.skip('c', () => {})`,
    line: '1 passed, 1 failed, 1 skipped',
    named: ['failed: one.test.js > b: expected 1 to be 2 // Object.is equality'],
  },
  {
    what: 'tests that all pass',
    source: `it('a', () => {}); it('b', () => {})`,
    line: '2 passed, 0 failed',
    named: [],
  },
  {
    what: 'a file that cannot be loaded',
    source: `throw new Error('no\\nmore of it')`,
    line: '0 passed, 1 failed',
    named: ['failed: one.test.js: no'],
  },
  {
    what: 'a file without tests',
    source: ``,
    line: '0 passed, 1 failed',
    named: [expect.stringContaining('failed: one.test.js: No test suite found')],
  },
  {
    what: 'a suite whose preparation failed',
    source: `describe('s', () => { beforeAll(() => { throw new Error('no') }); it('a', () => {}) })
             it('b', () => {})`,
    line: '1 passed, 1 failed, 1 skipped',
    named: ['failed: one.test.js > s: no'],
  },
  {
    what: 'an error that belongs to no test',
    source: `it('a', async () => {
               setTimeout(() => { throw new Error('late') })
               await new Promise((resolve) => setTimeout(resolve, 50))
             })`,
    line: '1 passed, 1 failed',
    named: ['failed: outside of tests: late'],
  },
]

async function runVitest(source: string): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'closing-line-'))
  try {
    await mkdir(join(dir, 'node_modules'))
    await symlink(join(root, 'node_modules/vitest'), join(dir, 'node_modules/vitest'))
    await writeFile(join(dir, 'one.test.js'), importLine + source)
    const argv = ['run', '--root', dir, '--reporter', 'default', '--reporter']
    const reporter = join(root, 'test/support/closing-line-reporter.ts')
    const vitest = join(root, 'node_modules/vitest/vitest.mjs')
    const child = spawn(process.execPath, [vitest, ...argv, reporter], {
      cwd: dir,
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { PATH: process.env['PATH'] },
    })
    let output = ''
    for await (const chunk of child.stdout) output += String(chunk)
    return output
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

describe('the closing line', () => {
  it.each(cases)('counts $what', async ({ source, line, named }) => {
    const lines = (await runVitest(source)).trimEnd().split('\n')
    expect(lines.at(-1)).toBe(line)
    expect(lines.filter((each) => each.startsWith('failed: '))).toEqual(named)
  })
})
