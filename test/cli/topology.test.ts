// `ringfence topology`: what the catalog says, before and after moves and pins are written into it.
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { formatVnodes, parseVnodes } from '../../core/vnode-ranges.ts'
import { askServer, present } from '../support/clients.ts'
import { type ConfigFile, createConfig } from './config-file.ts'
import { runProgram } from './program.ts'

describe('virtual nodes in writing', () => {
  it.each([
    [[7], '7'],
    [[0, 1, 2, 9], '0-2,9'],
    [[5, 4, 10, 11], '4-5,10-11'],
  ])('%j is written %j and read back', (vnodes, text) => {
    expect(formatVnodes(vnodes)).toBe(text)
    expect(parseVnodes(text, 11)).toEqual(vnodes.toSorted((a, b) => a - b))
  })

  it('are nothing when there are none', () => {
    expect(formatVnodes([])).toBe('')
  })

  it('takes overlapping ranges and blanks', () => {
    expect(parseVnodes('3 - 5, 4-6,1', 10)).toEqual([1, 3, 4, 5, 6])
  })

  it.each(['', 'x', '1-', '-1', '5-3', '1,,2', '11', '0-11', '1.5'])('refuses %j', (text) => {
    expect(parseVnodes(text, 10)).toBeUndefined()
  })
})

describe('ringfence topology', () => {
  let file: ConfigFile
  const topology = (...args: string[]) => runProgram(['topology', ...args, '--config', file.path])
  beforeAll(async () => {
    file = await createConfig(present(inject('servers')[0]), 2)
  })
  afterAll(() => file.remove())

  it('asks for init where there is no catalog', async () => {
    const { code, stdout, stderr } = await topology('show')
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toContain('run "ringfence init"')
    expect(stderr).not.toContain('    at ')
  })

  it('shows shares that add up to everything', async () => {
    expect((await runProgram(['init', '--config', file.path])).code).toBe(0)
    const { code, stdout } = await topology('show', '--json')
    expect(code).toBe(0)
    const shown = JSON.parse(stdout)
    expect(shown).toMatchObject({ database: 'app', vnodeCount: 4096, moves: [], pins: [] })
    expect(shown.shards).toMatchObject([
      { id: 's1', ordinal: 0, state: 'active', weight: 1, fairShare: 0.5, pins: 0, moves: [] },
      { id: 's2', ordinal: 1 },
    ])
    expect(shown.shards[0].vnodes + shown.shards[1].vnodes).toBe(4096)
    const table = await topology('show')
    expect(table.stdout).toMatch(/^database app, epoch \d+, 4096 virtual nodes, key bigint\n/)
    expect(table.stdout).toMatch(/^s1 \(home\) +active +1 +\d+ +\d+\.\d % +50\.0 % +0\n/m)
  })

  it('shows moves, pins and history as the catalog has them', async () => {
    const [home = ''] = file.urls
    await askServer(
      home,
      `WITH pinned AS (INSERT INTO ringfence.pin VALUES ('42', 's2')),
            next AS (UPDATE ringfence.topology SET epoch = epoch + 1 RETURNING epoch),
            noted AS (INSERT INTO ringfence.topology_history (epoch, what, detail)
                      SELECT epoch, 'key 42 pinned', '{"shard": "s2"}' FROM next)
       INSERT INTO ringfence.move (vnodes, keys, except_keys, from_shard, to_shard, state)
       VALUES ('{1,2,3,9}', '{}', '{}', 's1', 's2', 'copying'), ('{7}', '{}', '{}', 's2', 's1', 'done')
       RETURNING id`,
    )
    const shown = JSON.parse((await topology('show', '--json')).stdout)
    expect(shown).toMatchObject({
      moves: [{ id: 1, from: 's1', to: 's2', state: 'copying', vnodes: '1-3,9' }],
      pins: [{ key: '42', shard: 's2' }],
      shards: [
        { pins: 0, moves: [1] },
        { pins: 1, moves: [1] },
      ],
    })
    const table = await topology('show')
    expect(table.stdout).toMatch(/^1 +copying +s1 +s2 +4 +0$/m)
    expect(table.stdout).toMatch(/^42 +s2$/m)
    const { changes } = JSON.parse((await topology('history', '--json')).stdout)
    expect(changes[0]).toEqual({
      epoch: shown.epoch,
      at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      what: 'key 42 pinned',
      detail: { shard: 's2' },
    })
    const last = await topology('history', '--last', '1')
    expect(last.stdout).toMatch(/^epoch +at +what\n\d+ +\S+Z +key 42 pinned\n$/)
  })

  it('exports every virtual node once', async () => {
    const { code, stdout } = await topology('export')
    expect(code).toBe(0)
    const { shards, proxies, keyType } = JSON.parse(stdout)
    expect({ proxies, keyType }).toEqual({ proxies: [], keyType: 'bigint' })
    const texts: readonly string[] = shards.map((shard: { vnodes: string }) => shard.vnodes)
    const all = texts.flatMap((text) => parseVnodes(text, 4095) ?? [])
    expect(formatVnodes(all)).toBe('0-4095')
    expect(all).toHaveLength(4096)
  })
})
