// ROLLBACK to a server that breaks off before it answers: the transaction is over all the same, since nobody sends
// another ROLLBACK after it. The server is scripted.
import { expect, it } from 'vitest'
import { codesOf, errorFields, rawClient, untilReady } from '../support/clients.ts'
import { frontendMessage, textBytes } from '../support/frontend-bytes.ts'
import { completeBytes, headerBytes, rowBytes, ScriptedServer } from '../support/scripted-server.ts'
import { startScriptedProxy } from './scripted-proxy.ts'

const tag = (name: string) => frontendMessage('C', Buffer.from(`${name}\0`))
const inTransaction = frontendMessage('Z', Buffer.from('T'))

it('a ROLLBACK whose server is lost says that nothing is kept, and ends the transaction', async () => {
  const server = new ScriptedServer()
  await server.listen()
  const proxy = await startScriptedProxy(server, { failoverWaitMs: 300 })
  try {
    const { connection } = await rawClient(proxy.place)
    const ask = async (sql: string) => {
      connection.send(textBytes('Q', sql))
      return untilReady(connection)
    }
    const result = Buffer.concat([headerBytes('one'), rowBytes('1')])
    for (const bytes of [
      Buffer.concat([tag('BEGIN'), inTransaction]),
      Buffer.concat([result, tag('SELECT 1'), inTransaction]),
    ]) {
      server.answers.push({ bytes, hangUp: false })
    }
    server.answers.push({ bytes: Buffer.alloc(0), hangUp: true })
    server.answers.push({ bytes: Buffer.concat([result, completeBytes]), hangUp: false })
    expect(codesOf(await ask('BEGIN'))).toBe('CZ')
    expect((await ask('SELECT 1')).at(-1)?.bytes.toString('latin1', 5)).toBe('T')
    const ended = await ask('ROLLBACK')
    expect(errorFields(ended)['C']).toBe('40001')
    expect(ended.at(-1)?.bytes.toString('latin1', 5)).toBe('I')
    expect(codesOf(await ask('SELECT 1'))).toBe('TDCZ')
    connection.destroy()
  } finally {
    await proxy.instance.close()
    server.close()
  }
})
