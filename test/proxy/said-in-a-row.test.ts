// What a client is told that has a part of a row: nothing, until the rest of it has come. Rows go to clients in slices, and
// whatever were said between two of these would be read as values.
import { afterEach, describe, expect, inject, it } from 'vitest'
import {
  codesOf,
  errorFields,
  pause,
  present,
  rawClient,
  untilClosed,
  untilReady,
} from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import { headerBytes, rowBytes, ScriptedServer } from '../support/scripted-server.ts'
import { type Stack, startStack } from '../support/stack.ts'
import { type ScriptedProxy, startScriptedProxy } from './scripted-proxy.ts'

const servers = present(inject('servers')[0])
const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

const width = 3_000_000
const wide = `SELECT repeat('x', ${width}) FROM generate_series(1, 4)`

async function start(options: Partial<Parameters<typeof startStack>[1]> = {}): Promise<Stack> {
  const stack = await startStack(servers, { shards: 1, ...options })
  closers.push(() => stack.close())
  return stack
}

/** Asks for rows that are wider than all buffers on the way, and reads nothing of them. */
async function unread({ proxy }: Stack) {
  const client = await rawClient(proxy)
  // Its server is there from now on.
  client.connection.send(textBytes('Q', 'SELECT 1'))
  await untilReady(client.connection)
  client.connection.pause()
  client.connection.send(textBytes('Q', wide))
  return client
}

/** Every row is what the server has sent. */
function expectWholeRows(messages: readonly { readonly code: string; readonly bytes: Buffer }[]) {
  const rows = messages.filter(({ code }) => code === 'D')
  for (const { bytes } of rows) {
    expect(bytes.length).toBe(width + 11)
    expect(bytes.subarray(11).every((byte) => byte === 0x78)).toBe(true)
  }
}

describe('a client that has a part of a row', () => {
  it('hears of query_timeout behind the rows', async () => {
    const stack = await start({ database: { queryTimeoutMs: 700 } })
    const { connection } = await unread(stack)
    await pause(1_500)
    connection.resume()
    const messages = await untilReady(connection)
    expectWholeRows(messages)
    expect(codesOf(messages)).toMatch(/^TD+ENZ$/)
    expect(errorFields(messages)).toMatchObject({ C: '57014' })
    connection.send(textBytes('Q', 'SELECT 1'))
    expect(codesOf(await untilReady(connection))).toBe('TDCZ')
    connection.destroy()
  })
})

describe('the last bytes of a row', () => {
  const row = rowBytes('a value of some length, longer than any error message is'.repeat(20))
  let proxy: ScriptedProxy
  const server = new ScriptedServer()

  it('are never those of an error', async () => {
    await server.listen()
    proxy = await startScriptedProxy(server, { failoverWaitMs: 300, transactionTimeoutMs: 300 })
    closers.push(async () => {
      await proxy.instance.close()
      server.close()
    })
    server.answers.push({
      bytes: Buffer.concat([headerBytes('one'), row.subarray(0, row.length - 40)]),
      hangUp: false,
    })
    const { connection } = await rawClient(proxy.place)
    connection.send(textBytes('Q', 'SELECT 1'))
    expect(codesOf(await untilClosed(connection))).toBe('T')
    expect(connection.unfinishedBytes).toBe(row.length - 40)
  })
})
