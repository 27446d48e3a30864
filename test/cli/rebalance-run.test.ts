// A run of moves as an operator meets it: asked first, stopped in the middle, on a terminal or with nobody who reads.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest'
import { askServer, present } from '../support/clients.ts'
import { type ConfigFile, createConfig } from './config-file.ts'
import { Program, runProgram } from './program.ts'

// Each test starts several processes.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const entry = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))

let file: ConfigFile
beforeAll(async () => {
  file = await createConfig(present(inject('servers')[0]), 2)
  const { code, stderr } = await runProgram(['init', '--config', file.path])
  if (code !== 0) throw new Error(stderr)
  for (const url of file.urls) {
    await askServer(
      url,
      'CREATE TABLE orders (tenant_id bigint, id int, PRIMARY KEY (tenant_id, id))',
    )
  }
})
afterAll(() => file.remove())

const home = () => present(file.urls[0])
const run = (vnodes: string, ...more: readonly string[]) => [
  'rebalance',
  'run',
  '--config',
  file.path,
  '--from',
  's1',
  '--to',
  's2',
  '--vnodes',
  vnodes,
  ...more,
]
const rebalance = (...args: readonly string[]) =>
  runProgram(['rebalance', ...args, '--config', file.path])

/** State and wish of the newest move. */
const newest = () =>
  askServer(
    home(),
    `SELECT state || ' ' || coalesce(wish, '-') FROM ringfence.move ORDER BY id DESC LIMIT 1`,
  )

async function finishAll(): Promise<void> {
  await rebalance('resume', '--yes')
  expect(
    await askServer(
      home(),
      `SELECT count(*) FROM ringfence.move
    WHERE state NOT IN ('done', 'aborted')`,
    ),
  ).toEqual(['0'])
}

/** The command on a terminal of its own; each text is typed once its pattern has come. */
async function onTerminal(
  args: readonly string[],
  typed: readonly (readonly [pattern: RegExp, text: string])[],
) {
  const words = [process.execPath, entry, ...args].map((word) => `'${word}'`)
  const command = `stty cols 120 rows 40; exec ${words.join(' ')}`
  const child = spawn('/usr/bin/script', [
    '--quiet',
    '--return',
    '--echo',
    'never',
    '-c',
    command,
    '/dev/null',
  ])
  const rest = [...typed]
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
    const [next] = rest
    if (next === undefined || !next[0].test(output)) return
    rest.shift()
    child.stdin.write(next[1])
  })
  const killer = setTimeout(() => child.kill('SIGKILL'), 30_000)
  const [code] = await once(child, 'close')
  clearTimeout(killer)
  return { code: Number(code), output: output.replaceAll('\r', ''), untyped: rest.length }
}

const interrupt = '\u0003'
const end = '\u0004'

describe('a run of moves on a terminal', () => {
  it.each([
    ['Ctrl-C', interrupt],
    ['Ctrl-D', end],
  ])('does nothing when it is answered by %s', async (_, answer) => {
    const before = await askServer(home(), 'SELECT count(*) FROM ringfence.move')
    const { code, output } = await onTerminal(run('0-9'), [[/\[y\/N\]/, answer]])
    expect({ code, output }).toEqual({
      code: 1,
      output: expect.stringContaining('nothing was done'),
    })
    expect(await askServer(home(), 'SELECT count(*) FROM ringfence.move')).toEqual(before)
  })

  it('stops at Ctrl-C, says how to go on, and shows the cursor again', async () => {
    const args = run('0-9', '--yes', '--keep-source', 'until-told')
    const { code, output } = await onTerminal(args, [[/switched/, interrupt]])
    expect({ code, output }).toEqual({
      code: 1,
      output: expect.stringContaining('interrupted; go on with: ringfence rebalance resume'),
    })
    expect(output.lastIndexOf('\u001b[?25h')).toBeGreaterThan(output.lastIndexOf('\u001b[?25l'))
  })
})

describe('a run of moves', () => {
  it('stops when nobody reads what it says, as it does when it is told to', async () => {
    const child = spawn(process.execPath, [entry, ...run('10-19', '--yes')])
    let stderr = ''
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
    await once(child.stdout, 'data')
    child.stdout.destroy()
    const [code] = await once(child, 'close')
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: 'ringfence: interrupted; go on with: ringfence rebalance resume\n',
    })
  })

  it('ends with 1 when its terminal goes away', async () => {
    const program = new Program(run('20-29', '--yes', '--keep-source', 'until-told'))
    await program.printed('stdout', /switched/)
    program.signal('SIGHUP')
    const ended = await program.ended()
    expect(ended).toMatchObject({ code: 1, stderr: expect.stringMatching(/interrupted/) })
    expect(await newest()).toEqual(['switched -'])
  })

  it('that is to be resumed is left as it is until that is confirmed', async () => {
    const program = new Program(run('30-39', '--yes', '--keep-source', 'until-told'))
    await program.printed('stdout', /switched/)
    const { code, stdout } = await rebalance('resume')
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(await newest()).toEqual(['switched -'])
    program.signal('SIGTERM')
    await program.ended()
    const [id] = await askServer(home(), 'SELECT max(id) FROM ringfence.move')
    await rebalance('pause', String(id))
    expect(await newest()).toEqual(['switched pause'])
    expect((await rebalance('resume')).code).toBe(1)
    expect(await newest()).toEqual(['switched pause'])
    await finishAll()
    expect(await newest()).toEqual(['done -'])
  })

  it('refuses limits for moves that were kept with their own', async () => {
    const kept = await askServer(
      home(),
      `INSERT INTO ringfence.move (from_shard, to_shard, vnodes, keys, except_keys, options)
       SELECT from_shard, to_shard, '{40,41}', '{}', '{}', options FROM ringfence.move
       ORDER BY id LIMIT 1 RETURNING id`,
    )
    const { code, stderr } = await rebalance(
      'run',
      '--yes',
      '--rate',
      '5MiB',
      '--keep-source',
      '1h',
    )
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(/--rate, --keep-source .*kept with/s),
    })
    expect(await newest()).toEqual(['planned -'])
    await askServer(home(), 'DELETE FROM ringfence.move WHERE id = $1', kept)
  })
})
