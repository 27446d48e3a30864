// Commands and configuration files that the pages show: they exist, and are accepted.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadConfig } from '../../config/load.ts'
import { readPage, readPages, root } from './markdown.ts'

const pages = readPages()
const ringfence = (...args: string[]) =>
  spawnSync(join(root, 'bin/ringfence'), args, { encoding: 'utf8', timeout: 20_000 })

/** `bin/ringfence <command> …` and `ringfence <command> …` in blocks and between backticks. */
function commandLines(text: string): readonly string[] {
  const written = /(?:^ *|`)(?:bin\/)?ringfence ([a-z][a-z-]*[^`\n]*)/gm
  return [...text.matchAll(written)].map(([, line = '']) => line.replace(/ #.*/, '').trim())
}

/** Commands of `ringfence --help`, with what stands behind their names. */
function listed(): readonly { readonly name: string; readonly takes: string }[] {
  const section = ringfence('--help').stdout.split('Commands:')[1]?.split('\n\n')[0] ?? ''
  const lines = section.matchAll(/^ {2}([a-z][a-z-]*)(.*)$/gm)
  return [...lines].map(([, name = '', takes = '']) => ({ name, takes }))
}

const named = new Set(pages.flatMap(({ text }) => commandLines(text)))

describe('the command line', () => {
  it('knows every command and every option that a page shows', () => {
    const help = new Map<string, string>()
    const unknown: string[] = []
    // Commands of a group take none of the group's own options.
    const groups = listed().filter(({ takes }) => !/[[<]/.test(takes))
    const names = groups.map(({ name }) => `${name} [a-z][a-z-]*`)
    const pattern = new RegExp(`^(${names.join('|')}|[a-z][a-z-]*) ?(.*)$`)
    for (const line of named) {
      const [, command = '', ...rest] = pattern.exec(line) ?? []
      const text = help.get(command) ?? ringfence(...command.split(' '), '--help').stdout
      help.set(command, text)
      if (!text.startsWith(`Usage: ringfence ${command}`)) unknown.push(line)
      const words = rest.join(' ').split(/\s+/)
      for (const option of words.filter((word) => /^--?[a-z]/.test(word))) {
        if (!new RegExp(`(?:^|[ ,])${option}\\b`, 'm').test(text)) unknown.push(line)
      }
    }
    expect(unknown).toEqual([])
    const some = ['check', 'demo', 'explain', 'init', 'serve', 'shard pause', 'shard resume']
    expect([...help.keys()]).toEqual(expect.arrayContaining(some))
    // A process per command.
  }, 120_000)

  it('has no command or option of the demo that the pages leave out', () => {
    const commands = listed().filter(({ name }) => name !== 'help')
    expect(commands.length).toBeGreaterThan(12)
    const table = readPage('README.md').text
    const missing = commands.filter(({ name }) => !table.includes(`| \`ringfence ${name}`))
    expect(missing.map(({ name }) => name)).toEqual([])
    const options = [...ringfence('demo', '--help').stdout.matchAll(/^ {2}(--[a-z]+)/gm)]
    const operations = readPage('docs/operations.md').text
    expect(options.length).toBeGreaterThan(5)
    for (const [, option = ''] of options) expect(operations).toContain(`| \`${option}`)
  })
})

describe('configuration files in pages', () => {
  const env = { APP_PASSWORD: 'a', AUTH_PASSWORD: 'q', OPS_PASSWORD: 'o', SHARD_PASSWORD: 's' }
  const files = pages.flatMap(({ file, fences }) =>
    fences.filter(({ info }) => info === 'yaml').map(({ text }) => ({ file, text })),
  )

  it('exist', () => {
    expect(files.map(({ file }) => file)).toContain('README.md')
  })

  it.each(files)('in $file are accepted as they stand', ({ file, text }) => {
    const loaded = loadConfig(text, { file, env })
    expect(loaded.ok ? [] : loaded.problems).toEqual([])
  })
})

describe('the quick start', () => {
  it('shows the commands of the package, in order', () => {
    const shell = readPage('README.md').fences.filter(({ info }) => info === 'sh')
    const lines = shell.flatMap(({ text }) => text.trim().split('\n'))
    const psql = 'psql postgres://demo:demo@127.0.0.1:6432/app'
    expect(lines.slice(0, 4)).toEqual(['npm ci', 'npm run demo', psql, 'npm test'])
  })

  it('connects as the demo’s role, to its database and its port', () => {
    const roles = readFileSync(join(root, 'demo/roles.ts'), 'utf8')
    expect(roles).toContain("{ name: 'demo', password: 'demo', database: 'app' }")
    expect(ringfence('demo', '--help').stdout).toMatch(/--port.*\(default:\s+6432\)/s)
  })
})
