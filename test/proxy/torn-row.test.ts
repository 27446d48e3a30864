// A server that dies in the middle of a row which the client has a part of already. Whatever was said then would be read
// as the rest of that row, so that the client waits for ever, or takes an error's text for values: the connection ends.
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { codesOf, rawClient, untilClosed, untilReady } from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import { completeBytes, headerBytes, rowBytes, ScriptedServer } from '../support/scripted-server.ts'
import { type ScriptedProxy, startScriptedProxy } from './scripted-proxy.ts'

const server = new ScriptedServer()
const header = headerBytes('one')
const row = rowBytes('a value of some length')
let proxy: ScriptedProxy
beforeAll(async () => {
  await server.listen()
  proxy = await startScriptedProxy(server, { failoverWaitMs: 300 })
})
afterEach(() => server.answers.splice(0))
afterAll(async () => {
  await proxy.instance.close()
  server.close()
})

it.each([5, 6, 9, row.length - 1])(
  'of which %s bytes have come: the client is cut off',
  async (count) => {
    server.answers.push({
      bytes: Buffer.concat([header, row, row.subarray(0, count)]),
      hangUp: true,
    })
    const { connection } = await rawClient(proxy.place)
    connection.send(textBytes('Q', 'SELECT 1'))
    expect(codesOf(await untilClosed(connection))).toBe('TD')
    expect(connection.unfinishedBytes).toBe(count)
  },
)

it.each([0, 1, 4])(
  'of which %s bytes have come: the client is told, and goes on',
  async (count) => {
    server.answers.push({
      bytes: Buffer.concat([header, row, row.subarray(0, count)]),
      hangUp: true,
    })
    server.answers.push({ bytes: Buffer.concat([header, row, completeBytes]), hangUp: false })
    const { connection } = await rawClient(proxy.place)
    for (const codes of ['TDEZ', 'TDCZ']) {
      connection.send(textBytes('Q', 'SELECT 1'))
      expect(codesOf(await untilReady(connection))).toBe(codes)
    }
    connection.destroy()
  },
)
