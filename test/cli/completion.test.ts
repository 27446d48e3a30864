// `ringfence completion`: the script is loaded into a real bash, which is then asked what it would offer.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runProgram } from './program.ts'

const entry = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
const scriptOf = (shell: string) =>
  execFileSync(process.execPath, [entry, 'completion', shell], { encoding: 'utf8' })

describe('completion in bash', () => {
  let dir = ''
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'rf-completion-'))
    writeFileSync(join(dir, 'script'), scriptOf('bash'))
    writeFileSync(join(dir, 'ring fence.yaml'), '')
    writeFileSync(join(dir, 'notes.txt'), '')
  })
  afterAll(() => rmSync(dir, { recursive: true, force: true }))

  /** What bash offers for the last of `words`, which it has taken apart as it does on a command line. */
  function offers(...words: string[]): readonly string[] {
    const typed = ['ringfence', ...words].map((word) => `'${word}'`).join(' ')
    const asked = `source ./script
      COMP_WORDS=(${typed}); COMP_CWORD=${words.length}
      _ringfence; printf '%s\\n' "\${COMPREPLY[@]}"`
    const bash = spawnSync('bash', ['--norc', '-c', asked], { cwd: dir, encoding: 'utf8' })
    expect(bash.stderr).toBe('')
    return bash.stdout.split('\n').filter((line) => line !== '')
  }

  it('offers every command that help lists, and those that begin as typed', async () => {
    const { stdout } = await runProgram(['--help'])
    const listed = [...stdout.matchAll(/^ {2}([a-z][a-z-]+) /gm)].map(([, name]) => name)
    expect(listed.length).toBeGreaterThan(7)
    expect(new Set(offers(''))).toEqual(new Set(listed))
    expect(offers('expl')).toEqual(['explain'])
  })

  it('offers the commands of a group, and the options of a command', () => {
    expect(offers('shard', 're')).toContain('resume')
    expect(offers('shard', 'pause', '--')).toEqual([
      '--config',
      '--database',
      '--proxy',
      '--timeout',
      '--json',
      '--help',
    ])
    expect(offers('serve', '')).toEqual([])
  })

  it('takes no value of an option for a command', () => {
    expect(offers('shard', 'pause', '--config', 'serve', '--ti')).toEqual(['--timeout'])
    expect(offers('shard', 'pause', '--config', '=', 'serve', '--ti')).toEqual(['--timeout'])
    expect(offers('shard', 'pause', '--proxy', '10.0.0.1', ':', '6432', '--ti')).toEqual([
      '--timeout',
    ])
  })

  it('offers files where a file is expected, with blanks in their names', () => {
    expect(offers('serve', '--config', 'r')).toEqual(['ring fence.yaml'])
    expect(offers('serve', '-c', '')).toContain('notes.txt')
    expect(offers('serve', '--config', '=')).toContain('notes.txt')
    expect(offers('serve', '--config', '=', 'no')).toEqual(['notes.txt'])
  })

  it('offers the choices of an argument', () => {
    expect(offers('completion', '')).toEqual(['bash', 'zsh', 'fish'])
    expect(offers('completion', 'z')).toEqual(['zsh'])
  })

  it('is what "source" loads: bash itself calls it at the tab key', () => {
    const loaded = spawnSync('bash', ['--norc', '-c', 'source ./script; complete -p ringfence'], {
      cwd: dir,
      encoding: 'utf8',
    })
    expect(loaded.stdout).toBe('complete -F _ringfence ringfence\n')
  })
})

describe('completion in other shells', () => {
  it.each(['zsh', 'fish'])('has every command and every long option for %s', async (shell) => {
    const script = scriptOf(shell)
    const words = scriptOf('bash').matchAll(/^ {4}'([^']+)'\) words='([^']*)' options='([^']*)'/gm)
    const seen = [...words]
    expect(seen.length).toBeGreaterThan(9)
    for (const [, path = '', commands = '', options = ''] of seen) {
      expect(script).toContain(path)
      for (const name of commands.split(' ')) expect(script).toContain(name)
      const long = options.split(' ').filter((name) => name.startsWith('--'))
      for (const name of long)
        expect(script).toContain(shell === 'fish' ? `-l ${name.slice(2)}` : name)
    }
  })

  it('ends with 2 for a shell that it does not know', async () => {
    const { code, stderr } = await runProgram(['completion', 'tcsh'])
    expect(code).toBe(2)
    expect(stderr).toContain('Allowed choices are bash, zsh, fish')
  })
})
