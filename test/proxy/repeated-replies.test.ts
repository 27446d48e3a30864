// A read that is run again, seen by its client: every reply once, none missing, whatever broke off when. The server
// is scripted, since PostgreSQL would have to be killed between two messages.
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { codesOf, errorFields, rawClient, rowsOf, until, untilReady } from '../support/clients.ts'
import {
  bindBytes,
  executeBytes,
  frontendMessage,
  parseBytes,
  targetBytes,
  textBytes,
} from '../support/frontend-bytes.ts'
import type { RawConnection, ServerMessage } from '../support/raw-connection.ts'
import {
  completeBytes,
  headerBytes,
  rowBytes,
  ScriptedServer,
  takenBytes,
} from '../support/scripted-server.ts'
import { type ScriptedProxy, startScriptedProxy } from './scripted-proxy.ts'

const empty = Buffer.alloc(0)
const header = headerBytes('one')
const row = rowBytes('1')
const simple = textBytes('Q', 'SELECT 1')
const extended = Buffer.concat([
  parseBytes(empty, Buffer.from('SELECT 1'), []),
  bindBytes(empty, empty, [], []),
  targetBytes('D', 'P', empty),
  executeBytes(empty, 0),
  frontendMessage('S'),
])

let server: ScriptedServer
let proxy: ScriptedProxy
let connection: RawConnection
beforeEach(async () => {
  server = new ScriptedServer()
  await server.listen()
  proxy = await startScriptedProxy(server, { failoverWaitMs: 300 })
  connection = (await rawClient(proxy.place)).connection
})
afterEach(async () => {
  connection.destroy()
  await proxy.instance.close()
  server.close()
})

const answers = (...parts: readonly Buffer[]) =>
  server.answers.push({ bytes: Buffer.concat(parts), hangUp: false })
const breaksOff = (...parts: readonly Buffer[]) =>
  server.answers.push({ bytes: Buffer.concat(parts), hangUp: true })

async function ask(request: Buffer) {
  connection.send(request)
  return untilReady(connection)
}

describe('a read whose server breaks off', () => {
  it('is answered once, however far each try got', async () => {
    for (const [first, second] of [
      [[takenBytes, header], []],
      [[takenBytes, header], [takenBytes]],
      [[takenBytes], [takenBytes, header]],
      [[], [takenBytes, header]],
    ] as const) {
      breaksOff(...first)
      breaksOff(...second)
      answers(takenBytes, header, row, completeBytes)
      const answer = await ask(extended)
      expect(codesOf(answer)).toBe('12TDCZ')
      expect(rowsOf(answer)).toEqual([['1']])
    }
  })

  it('for good is told as an error, and the next answer lacks nothing', async () => {
    breaksOff(takenBytes, header)
    server.stopListening()
    const failed = await ask(extended)
    expect(codesOf(failed)).toBe('12TEZ')
    expect(errorFields(failed)['C']).toBe('08001')
    await server.listen()
    let answer: ServerMessage[] = []
    await until('the proxy has tried again', async () => {
      server.answers.splice(0)
      answers(takenBytes, header, row, completeBytes)
      answer = await ask(extended)
      return errorFields(answer)['C'] !== '08001'
    })
    expect(codesOf(answer)).toBe('12TDCZ')
    answers(header, row, completeBytes)
    expect(codesOf(await ask(simple))).toBe('TDCZ')
  })

  it('gives no rows under the header of another shape', async () => {
    breaksOff(header)
    answers(headerBytes('one', 'two'), rowBytes('1', '2'), completeBytes)
    const failed = await ask(simple)
    expect(codesOf(failed)).toBe('TEZ')
    expect(errorFields(failed)['C']).toBe('40001')
    answers(headerBytes('one', 'two'), rowBytes('1', '2'), completeBytes)
    expect(rowsOf(await ask(simple))).toEqual([['1', '2']])
  })

  it('is told as an error once rows have gone out', async () => {
    breaksOff(header, row)
    const failed = await ask(simple)
    expect(codesOf(failed)).toBe('TDEZ')
    answers(header, row, completeBytes)
    expect(codesOf(await ask(simple))).toBe('TDCZ')
  })
})

describe('a read of what nothing is known of', () => {
  it.each(['SELECT * FROM perhaps_a_view_that_writes', 'SELECT perhaps_writes()'])(
    'is not run again, since it may have written: %s',
    async (sql) => {
      breaksOff(header)
      answers(header, row, completeBytes)
      const failed = await ask(textBytes('Q', sql))
      expect(codesOf(failed)).toBe('TEZ')
      expect(errorFields(failed)['C']).toBe('08006')
      expect(server.answers).toHaveLength(1)
    },
  )
})
