// The examples of docs/consistency.md, run as they stand there before replicas that are far behind: each shows what
// it says, and without the line that matters it would not.
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sampleSchemaSql } from '../../demo/sample-schema.ts'
import { findProgram } from '../clients/find-program.ts'
import { urlOf } from '../clients/program.ts'
import { runProgram } from '../clients/run-program.ts'
import { untilReadable } from '../proxy/replica-fixture.ts'
import { withClient } from '../support/clients.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import { readPage, root } from './markdown.ts'

/** Far longer than an example takes. */
const delayMs = 60_000
const folder = 'docs/examples'

const page = readPage('docs/consistency.md')
const examples = new Map(
  page.fences.flatMap(({ info, text }) => {
    const file = /(?:^| )file=(\S+)/.exec(info)?.[1]
    return file === undefined ? [] : [[file, text] as const]
  }),
)
// PostgreSQL's own programs are no npm packages: without psql its examples are not registered, which is said.
const scripts = findProgram('psql') === undefined ? [] : psqlScripts()
if (scripts.length === 0) process.stderr.write('psql was not found: it is not tested here\n')

const example = (name: string) => examples.get(`examples/${name}`) ?? ''

describe('an example of the page', () => {
  it.each([...examples])('is the file that it names: %s', (file, shown) => {
    expect(readFileSync(join(root, 'docs', file), 'utf8')).toBe(shown)
  })

  it('is every file of the folder', () => {
    const files = readdirSync(join(root, folder)).map((name) => `examples/${name}`)
    expect([...examples.keys()]).toEqual(expect.arrayContaining(files))
    expect(files.length).toBeGreaterThan(3)
  })
})

describe('before replicas that are far behind', () => {
  let stack: ReplicatedStack

  beforeAll(async () => {
    stack = await startReplicatedStack({
      shards: 2,
      replicas: 1,
      proxies: 2,
      redis: true,
      setupSql: sampleSchemaSql,
      reads: { maxLagMs: null },
    })
    await withClient(stack.place(0), async (client) => {
      for (const id of [1, 2, 3]) {
        const values = [id, `tenant ${id}`, id === 2 ? 'team' : 'free']
        await client.query('INSERT INTO tenants VALUES ($1, $2, $3)', values)
      }
    })
    for (const shard of stack.shards) {
      for (const replica of shard.replicas) {
        await shard.untilReplayed(replica)
        await shard.delayReplay(replica, delayMs)
      }
    }
    for (const at of [0, 1]) await untilReadable(stack.proxy(at).instance, 1)
  })
  afterAll(() => stack?.stop())

  const psql = async (script: string) => {
    const argv = ['--no-psqlrc', '--quiet', '--tuples-only', '--no-align', '--file', '-']
    const { stdout, stderr } = await runProgram('psql', stack.place(0), argv, script)
    expect(stderr).toBe('')
    return stdout.trim().split('\n')
  }
  const node = (program: string) =>
    runNode(program, {
      DATABASE_URL: urlOf(stack.place(0)),
      OTHER_DATABASE_URL: urlOf(stack.place(1)),
    })

  it.each(scripts)('%s shows in psql what it says', async (name, said, thing, otherwise) => {
    const script = example(name)
    expect(await psql(script)).toEqual(said)
    expect(script).toMatch(thing)
    expect(await psql(script.replace(thing, ''))).toEqual(otherwise)
  })

  it('a token takes what one service has written to another, with pg', async () => {
    const program = example('two-services.mjs')
    expect(await node(program)).toBe('the mailer sees: enterprise\n')
    expect(await node(program.replace('(token, mailer', '(null, mailer'))).toBe(
      'the mailer sees: free\n',
    )
  })
})

/** An example, what it prints, the one thing that this hangs on, and what it prints without it. */
function psqlScripts(): readonly [string, readonly string[], RegExp, readonly string[]][] {
  return [
    ['token.sql', ['Ada & Sons'], /^SET .*$/m, ['tenant 1']],
    ['session-id.sql', ['team'], / \/\*.*\*\//, ['free']],
    [
      'levels.sql',
      ['session', 'free', 'team', 'free', 'team', 'free'],
      / \/\* ringfence:consistency=eventual \*\//,
      ['session', 'free', 'free', 'free', 'team', 'free'],
    ],
  ]
}

/** What a program prints that comes by standard input; it finds the project's packages. */
async function runNode(program: string, env: Readonly<Record<string, string>>): Promise<string> {
  const child = spawn(process.execPath, ['--input-type=module', '-'], {
    cwd: root,
    env: { ...process.env, ...env },
    timeout: 20_000,
  })
  child.stdin.end(program)
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)])
  expect(stderr).toBe('')
  return stdout
}
