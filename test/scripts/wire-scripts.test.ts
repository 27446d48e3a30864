// Every wire script at PostgreSQL and at the proxy: the conversations must be equal (see
// README.md).
import { readdirSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { Endpoint } from '../support/raw-connection.ts'
import { startStack, type Stack } from '../support/stack.ts'
import { diffConversations, showConversation } from '../support/wire-diff.ts'
import { playScript } from '../support/wire-run.ts'
import { parseWireScript, type WireScript } from '../support/wire-script.ts'
import { timedOut } from '../support/wire-transcript.ts'

const scripts = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith('.wire'))
  .map((file) => file.slice(0, -'.wire'.length))
  .map((name) => parseWireScript(name, readFileSync(`${import.meta.dirname}/${name}.wire`, 'utf8')))

const stacks = inject('servers').flatMap((servers) => {
  const played = scripts.filter((script) => script.versionMin <= servers.version)
  return [
    { version: servers.version, servers, shards: 1, sharded: false, played },
    {
      version: servers.version,
      servers,
      shards: 3,
      sharded: true,
      played: played.filter((script) => script.sharded),
    },
  ]
})

describe.each(stacks)(
  'PostgreSQL $version, $shards shard(s)',
  ({ servers, played, ...options }) => {
    let stack: Stack | undefined

    beforeAll(async () => {
      stack = await startStack(servers, { shards: options.shards, sharded: options.sharded })
    })
    afterAll(() => stack?.close())

    it.each(played)('the conversation "$name" is PostgreSQL’s own', async (script) => {
      if (stack === undefined) throw new Error('no stack')
      const { proxy, direct } = stack
      expect(await differenceOf(script, direct, proxy, options.sharded)).toBe('')
    })
  },
)

/** Empty when all is well. Twice at the proxy: what the first client left behind must not show. */
async function differenceOf(
  script: WireScript,
  direct: Endpoint,
  proxy: Endpoint,
  manyShards: boolean,
): Promise<string> {
  const expected = await playScript(script, direct, manyShards)
  if (timedOut(expected)) return `PostgreSQL did not answer:\n${showConversation(expected)}`
  for (const round of ['first', 'second']) {
    const difference = diffConversations(expected, await playScript(script, proxy, manyShards))
    if (difference !== '') return `${round} time, - PostgreSQL, + proxy:\n${difference}`
  }
  return ''
}
