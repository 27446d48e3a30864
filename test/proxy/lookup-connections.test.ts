// Connections that look users up, to a server that does not do its part: nothing of that may stay behind.
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../core/clock.ts'
import { shardId } from '../../core/ids.ts'
import { FlushTurn } from '../../pool/outbox.ts'
import { LookupConnections } from '../../proxy/lookup-connections.ts'
import { frontendMessage } from '../support/frontend-bytes.ts'
import { completeBytes, rowBytes, ScriptedServer, takenBytes } from '../support/scripted-server.ts'

const silence = { bytes: Buffer.alloc(0), hangUp: false }
const done = { bytes: completeBytes, hangUp: false }
const row = {
  bytes: Buffer.concat([takenBytes, rowBytes('anna', 'secret'), completeBytes]),
  hangUp: false,
}
const refusal = {
  bytes: Buffer.concat([
    frontendMessage('E', Buffer.from('SERROR\0C42704\0Mno such setting\0\0')),
    frontendMessage('Z', Buffer.from('I')),
  ]),
  hangUp: false,
}

let server: ScriptedServer
let lookups: LookupConnections
beforeEach(async () => {
  server = new ScriptedServer()
  await server.listen()
  const target = {
    shard: shardId('s1'),
    role: 'primary',
    host: '127.0.0.1',
    port: server.port,
    database: 'app',
    user: 'asker',
    password: null,
  } as const
  lookups = new LookupConnections({
    target: () => target,
    dial: {
      turn: new FlushTurn(),
      readBuffer: Buffer.alloc(16_384),
      clock: systemClock,
      connectTimeoutMs: 1_000,
      wholeBytesMax: 65_536,
    },
    clock: systemClock,
    connectionsMax: 1,
    timeoutMs: 200,
  })
})
afterEach(() => {
  lookups.close()
  server.close()
})

describe('a connection that looks users up', () => {
  it.each([
    ['says nothing any more once it is logged in', silence, 'no answer within 200 ms'],
    ['cannot be set up', refusal, 'no such setting'],
  ])('and %s costs its own question alone', async (_what, answer, reason) => {
    server.answers.push(answer, done, row)
    await expect(lookups.ask('SELECT', 'anna')).rejects.toThrow(reason)
    expect(await lookups.ask('SELECT', 'anna')).toEqual([['anna', 'secret']])
    expect(server.connections).toBe(1)
  })
})
