// A client that asks and asks and does not read the answers: it alone stands still, and nothing piles up. The server is
// scripted, so that each answer comes in one piece.
import { expect, it } from 'vitest'
import { codesOf, pause, rawClient, untilReady } from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import { completeBytes, headerBytes, rowBytes, ScriptedServer } from '../support/scripted-server.ts'
import { startScriptedProxy } from './scripted-proxy.ts'

const queries = 1_000
const others = 20
const answer = Buffer.concat([headerBytes('one'), rowBytes('x'.repeat(32_000)), completeBytes])

it('a client that does not read keeps no server from the others, and gets all in the end', async () => {
  const server = new ScriptedServer()
  await server.listen()
  const proxy = await startScriptedProxy(server, { failoverWaitMs: 300, poolSize: 1 })
  try {
    for (let at = 0; at < queries + others; at += 1) {
      server.answers.push({ bytes: answer, hangUp: false })
    }
    const query = textBytes('Q', 'SELECT 1')
    const { connection: slow } = await rawClient(proxy.place)
    const { connection: other } = await rawClient(proxy.place)
    slow.pause()
    slow.send(Buffer.concat(Array.from({ length: queries }, () => query)))
    // In that time come more answers than all the buffers on the way take.
    for (let turn = 0; turn < others; turn += 1) {
      await pause(50)
      other.send(query)
      const answered = untilReady(other).then(codesOf)
      expect(await Promise.race([answered, pause(5_000).then(() => 'no answer')])).toBe('TDCZ')
    }
    expect(server.answers.length).toBeGreaterThan(queries / 2)
    slow.resume()
    for (let at = 0; at < queries; at += 1) expect(codesOf(await untilReady(slow))).toBe('TDCZ')
    slow.destroy()
    other.destroy()
  } finally {
    await proxy.instance.close()
    server.close()
  }
})
