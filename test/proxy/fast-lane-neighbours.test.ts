// Neighbours on the fast lane: whatever one client does in the middle of its statement, the others notice nothing.
import { afterEach, describe, expect, inject, it } from 'vitest'
import {
  pause,
  present,
  rawClient,
  type RawClient,
  until,
  untilReady,
  value,
  withClient,
  withClients,
} from '../support/clients.ts'
import { bindBytes, executeBytes, parseBytes, textBytes } from '../support/frontend-bytes.ts'
import { type Stack, startStack } from '../support/stack.ts'

const [newest] = inject('servers')
const sync = Buffer.from([0x53, 0, 0, 0, 4])
const none = Buffer.alloc(0)

let stack: Stack | undefined
afterEach(async () => {
  await stack?.close()
  stack = undefined
})

/** One server of the lane, on which statements of these shapes ride. */
async function start(...shapes: readonly string[]): Promise<Stack> {
  const running = await startStack(present(newest), {
    shards: 1,
    pool: { size: 4, laneServersMax: 1 },
    database: { failover: { waitMs: 5_000, probeMs: 1_000 } },
  })
  stack = running
  await withClient(running.proxy, async (client) => {
    for (const sql of shapes) {
      const before = rides(running)
      await until('it rides', async () => {
        await client.query(sql)
        return rides(running) > before + 5
      })
    }
  })
  return running
}

function lanes({ instance }: Stack) {
  return [...instance.databases.values()].flatMap(({ pools }) => pools.map(({ lane }) => lane))
}

function rides(running: Stack): number {
  return lanes(running).reduce((sum, { counts }) => sum + counts.rides, 0)
}

/** Codes of what it is told; of an error its SQLSTATE. */
async function answer({ connection }: RawClient): Promise<string> {
  const messages = await untilReady(connection)
  return messages
    .map(({ code, bytes }) =>
      code === 'E' ? (/C(\w{5})\0/.exec(bytes.toString())?.[1] ?? code) : code,
    )
    .join(' ')
}

describe('behind a client on the fast lane', () => {
  it('that reads nothing of several answers nobody waits', async () => {
    const wide = "SELECT repeat('x', 50000)"
    const running = await start(wide, 'SELECT 7')
    await withClients(running.proxy, 2, async ([deaf, other]) => {
      const { stream } = Reflect.get(present(deaf), 'connection')
      stream.pause()
      stream.write(Buffer.concat(Array.from({ length: 1_000 }, () => textBytes('Q', wide))))
      const first = rides(running)
      await until('it has asked for more than it reads', async () => {
        const before = rides(running)
        await pause(100)
        return before > first && rides(running) === before
      })
      for (let at = 0; at < 5; at += 1) {
        expect(await soon(value(present(other), 'SELECT 7'))).toBe('7')
      }
      stream.destroy()
    })
  })
})

describe('behind a client on the fast lane that goes in the middle of its statement', () => {
  // A type that does not exist: the server refuses the Parse.
  const wrongType = 99_999_999
  const asked = (name: string, type: number) => {
    const statement = Buffer.from(name)
    const one = { format: 0, value: Buffer.from('1') } as const
    return Buffer.concat([
      parseBytes(statement, Buffer.from(counted('$1')), [type]),
      bindBytes(none, statement, [one], []),
      executeBytes(none, 0),
      sync,
    ])
  }

  it.each(['', 'mine'])(
    'another one hears of the Parse what the server says (%o)',
    async (name) => {
      const running = await start(counted('1'))
      await withClient(running.proxy, async (client) => {
        for (let run = 0; run < 20; run += 1) await client.query(counted('$1'), [1])
      })
      const told = async (place: Stack['proxy']) => {
        const client = await rawClient(place)
        client.connection.send(asked(name, wrongType))
        const heard = await answer(client)
        client.connection.destroy()
        return heard
      }
      const expected = await told(running.direct)
      for (let round = 0; round < 5; round += 1) {
        const [slow, goes] = await Promise.all([rawClient(running.proxy), rawClient(running.proxy)])
        slow.connection.send(textBytes('Q', counted('300000')))
        goes.connection.send(asked(name, wrongType))
        await new Promise((resolve) => setImmediate(resolve))
        goes.connection.destroy()
        expect(await answer(slow)).toBe('T D C Z')
        expect(await told(running.proxy)).toBe(expected)
        slow.connection.destroy()
      }
    },
  )
})

function counted(rows: string): string {
  return `SELECT count(*)::int FROM generate_series(1, ${rows}) WHERE generate_series < 0`
}

async function soon<T>(promise: Promise<T>): Promise<T | 'nothing'> {
  return await Promise.race([promise, pause(3_000).then(() => 'nothing' as const)])
}
