// Protocol versions are the proxy's own affair: it speaks 3.0 and 3.2 whatever the servers speak,
// so the conversations are not compared with a server that knows 3.0 alone.
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { cancelBytes, textBytes } from '../support/frontend-bytes.ts'
import { type Arrival, RawConnection, type ServerMessage } from '../support/raw-connection.ts'
import { loginTo } from '../support/raw-login.ts'
import { startStack, type Stack } from '../support/stack.ts'

const isMessage = (arrival: Arrival): arrival is ServerMessage => typeof arrival === 'object'

describe.each(inject('servers'))('the proxy before PostgreSQL $version', (servers) => {
  let stack: Stack | undefined

  beforeAll(async () => {
    stack = await startStack(servers, { shards: 1 })
  })
  afterAll(() => stack?.close())

  /** Messages of a login; the connection is still open. */
  async function logIn(minor: number, parameters: readonly (readonly [string, string])[] = []) {
    if (stack === undefined) throw new Error('no stack')
    const connection = await RawConnection.open(stack.proxy)
    const arrivals = await loginTo(stack.proxy)(connection, { minor, parameters })
    const messages = arrivals.filter(isMessage)
    const bytesOf = (code: string) => messages.find((message) => message.code === code)?.bytes
    return { connection, bytesOf, proxy: stack.proxy }
  }

  it.each([
    { minor: 0, keyBytesMin: 4, keyBytesMax: 4 },
    { minor: 2, keyBytesMin: 4, keyBytesMax: 256 },
  ])('speaks 3.$minor without negotiating', async ({ minor, keyBytesMin, keyBytesMax }) => {
    const { connection, bytesOf } = await logIn(minor)
    connection.destroy()
    expect(bytesOf('v')).toBeUndefined()
    expect(bytesOf('Z')?.toString('latin1', 5)).toBe('I')
    const keyBytes = (bytesOf('K')?.length ?? 0) - 9
    expect(keyBytes).toBeGreaterThanOrEqual(keyBytesMin)
    expect(keyBytes).toBeLessThanOrEqual(keyBytesMax)
  })

  it.each([3, 9, 9999])('answers 3.%i with 3.2 as the newest it speaks', async (minor) => {
    const { connection, bytesOf } = await logIn(minor, [['_pq_.colour', 'green']])
    connection.destroy()
    const negotiation = bytesOf('v')
    expect(negotiation?.readInt32BE(5)).toBe(3 * 65_536 + 2)
    expect(negotiation?.readInt32BE(9)).toBe(1)
    expect(negotiation?.toString('latin1', 13)).toBe('_pq_.colour\0')
    expect(bytesOf('Z')?.toString('latin1', 5)).toBe('I')
  })

  it('takes a cancel request with the long key of 3.2', async () => {
    const { connection, bytesOf, proxy } = await logIn(2)
    connection.send(textBytes('Q', 'SELECT pg_sleep(30)'))
    await new Promise((resolve) => setTimeout(resolve, 300))
    const canceller = await RawConnection.open(proxy)
    canceller.send(cancelBytes(bytesOf('K')?.subarray(5) ?? Buffer.alloc(0)))
    const answers: string[] = []
    for (;;) {
      const arrival = await connection.next(10_000)
      if (!isMessage(arrival)) break
      answers.push(arrival.bytes.toString('latin1'))
      if (arrival.code === 'Z') break
    }
    connection.destroy()
    canceller.destroy()
    expect(answers.at(-2)).toMatch(/^E.*\0C57014\0/s)
    expect(answers.at(-1)).toMatch(/^Z/)
  })
})
