// What the function call protocol does where clients may not keep servers (what it does elsewhere: test/scripts/function-call*.wire).
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { startStack, type Stack } from '../support/stack.ts'
import { showConversation } from '../support/wire-diff.ts'
import { playScript } from '../support/wire-run.ts'
import { parseWireScript } from '../support/wire-script.ts'

let stack: Stack

beforeAll(async () => {
  const [servers] = inject('servers')
  if (servers === undefined) throw new Error('no servers')
  stack = await startStack(servers, { shards: 1, database: { pin: 'refuse' } })
})
afterAll(() => stack.close())

async function answerTo(script: string): Promise<string> {
  const parsed = parseWireScript('calls', `# Calls.\n${script}\n`)
  return showConversation(await playScript(parsed, stack.proxy, false))
}

it('a call of a function of which nobody knows what it leaves is refused', async () => {
  const said = await answerTo('FunctionCall 2880 [text "4714"] text\nwait ready')
  expect(said).toContain('C=0A000')
  const held = "FROM pg_locks WHERE locktype = 'advisory' AND objid = 4714"
  const locks = await answerTo(`Query "SELECT 'locks: ' || count(*) ${held}"\nwait ready`)
  expect(locks).toContain('locks: 0')
})

it('calls of the functions of large objects are not', async () => {
  const said = await answerTo(`Query "BEGIN"
    wait ready
    FunctionCall 957 [text "-1"] text
    wait ready
    Query "ROLLBACK"
    wait ready`)
  expect(said).toContain('FunctionCallResponse')
  expect(said).not.toContain('ErrorResponse')
})
