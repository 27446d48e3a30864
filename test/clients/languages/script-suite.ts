// Runs a program in another language on both sides at once, Ringfence over one shard in transaction mode and plain
// PostgreSQL, and demands the same observations. A program writes one line of JSON per step; one test per step.
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { afterAll, assert, beforeAll, describe, expect, inject, it } from 'vitest'
import { z } from 'zod'
import { until } from '../../support/clients.ts'
import { startStack, type Stack } from '../../support/stack.ts'
import type { Client, ClientRun } from '../client-run.ts'
import type { Target } from '../program.ts'
import { environment } from '../run-program.ts'
import { stackOf } from '../suite.ts'
import type { Script } from './scripts.ts'

const timeoutMs = 100_000
const line = z.object({ step: z.string(), seen: z.json() })
type Seen = ReadonlyMap<string, z.infer<typeof line>['seen']>
type Both = { readonly direct: Seen; readonly proxied: Seen }

/** Declares the tests of one program. */
export function scriptSuite(script: Script, steps: Readonly<Record<string, string>>): void {
  const { client, language, notes } = script
  describe.each(inject('servers'))(`${client} over one shard, PostgreSQL $version`, (servers) => {
    let stack: Stack | undefined
    let both: Both | undefined
    beforeAll(async () => {
      stack = await startStack(servers, stackOf['one shard'])
      const [direct, proxied] = await Promise.all([
        run(script, stack.direct, 'PostgreSQL'),
        run(script, stack.proxy, 'Ringfence'),
      ])
      both = { direct, proxied }
    }, timeoutMs)
    afterAll(() => stack?.close())

    it.for(Object.entries(steps))('%s: %s', ([step, did], { task }) => {
      assert(both !== undefined, 'both runs have ended')
      const version = versionOf(both.direct)
      const about: Client = { client, language, version, notes }
      const run: ClientRun = { ...about, layout: 'one shard', postgres: servers.version, did }
      task.meta.clientRun = run
      const expected = both.direct.get(step)
      expect(expected, 'a step that observes nothing proves nothing').toBeTruthy()
      const why = script.differs?.[step]
      if (why === undefined) return expect(both.proxied.get(step)).toEqual(expected)
      task.meta.clientRun = { ...run, why }
      expect(both.proxied.get(step), 'no longer differs: say so in scripts.ts').not.toEqual(
        expected,
      )
    })

    it('does the steps that are named here, and leaves no server leased', async () => {
      assert(stack !== undefined && both !== undefined, 'both runs have ended')
      const { poolStats } = stack
      expect([...both.proxied.keys()].sort()).toEqual(['version', ...Object.keys(steps)].sort())
      await until('servers are idle', () => poolStats().leased === 0)
    })
  })
}

function versionOf(seen: Seen): string {
  return z.string().parse(seen.get('version'))
}

async function run({ argv, env = {} }: Script, target: Target, side: string): Promise<Seen> {
  const [program = '', ...args] = argv
  const options = {
    cwd: import.meta.dirname,
    env: { ...environment(target), ...env },
    timeout: timeoutMs,
  }
  const child = spawn(program, args, options)
  const ended = new Promise<string>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(`${signal ?? code}`))
  })
  child.stdin.end()
  const [stdout, stderr, end] = await Promise.all([text(child.stdout), text(child.stderr), ended])
  if (end !== '0') throw new Error(`${side}: ${program} ended with ${end}: ${shortened(stderr)}`)
  const lines = stdout
    .trim()
    .split('\n')
    .map((one) => line.parse(JSON.parse(one)))
  return new Map(lines.map(({ step, seen }) => [step, seen]))
}

/** The first lines; some programs print their whole state with an error. */
function shortened(said: string): string {
  const lines = said.split('\n').map((one) => one.slice(0, 300))
  return lines.length <= 40
    ? lines.join('\n')
    : [...lines.slice(0, 20), ...lines.slice(-20)].join('\n')
}
