// Settings whose meaning comes with a later version: refused, never ignored.
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { loadConfig } from '../../config/load.ts'
import { oneShard, problemsOf, twoShards } from './files.ts'

describe('settings of later versions', () => {
  const everySetting = readFileSync(new URL('every-setting.yaml', import.meta.url), 'utf8')

  it('are refused, and nothing else of a file that has every setting', () => {
    const loaded = loadConfig(everySetting, {
      file: 'f.yaml',
      env: { APP_PASSWORD: 'a', SHARD_PASSWORD: 'b', TOKEN_KEY: 'k'.repeat(32) },
    })
    const problems = loaded.ok ? [] : loaded.problems
    expect(problems.map(({ path }) => path)).toEqual([
      'databases.app.sharding.scatter.max_gathered_rows',
      'databases.app.sharding.scatter.max_gathered_bytes',
    ])
    expect(problems.filter(({ message }) => !message.startsWith('not supported yet'))).toEqual([])
    const lines = everySetting.split('\n')
    for (const { line, column, path } of problems) {
      const name = path.slice(path.lastIndexOf('.') + 1)
      expect(lines[line - 1]?.slice(0, column - 1).trimEnd()).toMatch(new RegExp(`${name}:$`))
    }
  })

  it.each(['auth: { rules: [{ method: peer }] }'])('are refused: %s', (line) => {
    expect(problemsOf(`${line}\n${oneShard}`)).toEqual([
      expect.stringMatching(/^f\.yaml:1:\d+ {2}\S+: not supported yet: .*; remove it/),
    ])
  })

  it.each([
    'sharding: { key: k, allow_key_update: true }',
    'sharding: { key: k, cross_shard_writes: best_effort }',
  ])('are refused in a database: %s', (line) => {
    const text = `${twoShards.replace(/\n.*id: s2.*/, '')}\n    ${line}`
    expect(problemsOf(text)).toEqual([
      expect.stringMatching(/^f\.yaml:7:\d+ {2}\S+: not supported yet: .*; remove it/),
    ])
  })

  it('are accepted with the value that this version behaves as', () => {
    const text = `workers: 2
auth: { query: null }
${oneShard}
    pool: { mode: transaction, min: 0, reserve: 0, fast_lane: off, auto_prepare: off }
log: { level: info }`
    expect(problemsOf(text)).toEqual([])
  })
})
