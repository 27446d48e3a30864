// What a session leaves behind is its client's in whatever form it was said: conversations of two clients that share a server,
// message by message, beside plain PostgreSQL.
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { askServer, present } from '../../support/clients.ts'
import { runSql, startStack, type Stack } from '../../support/stack.ts'
import { diffConversations } from '../../support/wire-diff.ts'
import { playScript } from '../../support/wire-run.ts'
import { parseWireScript } from '../../support/wire-script.ts'

const file = readFileSync(new URL('./forms.wires', import.meta.url), 'utf8')
const conversations = file
  .split(/^=== /m)
  .slice(1)
  .map((part) => {
    const [name = '', ...lines] = part.split('\n')
    const text = lines.join('\n')
    return { name, size: text.includes('# size: 2') ? 2 : 1, text }
  })

const anew =
  'DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT ALL ON SCHEMA public TO PUBLIC'

describe.each(inject('servers'))('with PostgreSQL $version', (servers) => {
  describe.each([1, 2])('two clients on as few servers as will do: %i', (size) => {
    let stack: Stack
    beforeAll(async () => {
      const pool = { size, queryWaitTimeoutMs: 3_000 }
      stack = await startStack(servers, { shards: 1, pool })
      const role = 'DO $$ BEGIN CREATE ROLE leaks_role; EXCEPTION WHEN OTHERS THEN NULL; END $$'
      await askServer(present(stack.shardUrls[0]), role)
    })
    afterAll(() => stack.close())

    it.each(conversations.filter((conversation) => conversation.size === size))(
      '$name',
      async ({ name, text }) => {
        for (const place of [stack.direct, stack.proxy]) await runSql(place, anew)
        const script = parseWireScript(name, text)
        const plain = await playScript(script, stack.direct)
        expect(diffConversations(plain, await playScript(script, stack.proxy))).toBe('')
      },
    )
  })
})
