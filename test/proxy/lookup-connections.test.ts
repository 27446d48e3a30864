// Connections that look users up, to a server that does not do its part: nothing of that may stay behind.
import { createServer, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../core/clock.ts'
import { shardId } from '../../core/ids.ts'
import { createLog } from '../../core/log.ts'
import { FlushTurn } from '../../pool/outbox.ts'
import { AuthQuery } from '../../proxy/auth-query.ts'
import { LookupConnections } from '../../proxy/lookup-connections.ts'
import { Turns } from '../../proxy/turns.ts'
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

const target = {
  shard: shardId('s1'),
  role: 'primary',
  host: '127.0.0.1',
  database: 'app',
  user: 'asker',
  password: null,
} as const
const dial = {
  turn: new FlushTurn(),
  readBuffer: Buffer.alloc(16_384),
  clock: systemClock,
  connectTimeoutMs: 1_000,
  wholeBytesMax: 65_536,
}

const turns = new Turns(1)
let server: ScriptedServer
let lookups: LookupConnections
beforeEach(async () => {
  server = new ScriptedServer()
  await server.listen()
  lookups = new LookupConnections({
    target: () => ({ ...target, port: server.port }),
    dial,
    clock: systemClock,
    connectionsMax: 1,
    dialsTo: () => turns,
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

describe('lookups in many databases', () => {
  it('open few connections at a time', async () => {
    const sockets: Socket[] = []
    const silent = createServer((socket) => {
      sockets.push(socket)
      socket.on('error', () => undefined)
    })
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    const address = silent.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const query = new AuthQuery(
      {
        user: 'asker',
        password: null,
        sql: 'SELECT',
        database: null,
        cacheMs: 0,
        timeoutMs: 300,
        connectionsMax: 2,
      },
      {
        dial,
        clock: systemClock,
        log: createLog('silent'),
        placeOf: (name) => ({ name, target: () => ({ ...target, port }) }),
      },
    )
    const asked = Array.from({ length: 40 }, (_, at) => query.find('anna', `db${at}`))
    const ended = await Promise.allSettled(asked)
    expect(new Set(ended.map(({ status }) => status))).toEqual(new Set(['rejected']))
    expect(sockets.length).toBeLessThanOrEqual(4)
    query.close()
    for (const socket of sockets) socket.destroy()
    silent.close()
  })
})
