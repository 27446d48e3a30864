// What is spooled comes out as it went in, and no file outlives its spool.
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Spool } from '../../rebalancer/stream/spool.ts'

let dir = ''
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'spool-test-'))
})
afterAll(() => rm(dir, { recursive: true }))

async function readAll(spool: Spool): Promise<Uint8Array[]> {
  const messages: Uint8Array[] = []
  for await (const message of spool.read()) messages.push(message)
  return messages
}

describe('a spool', () => {
  it('gives every message back in order, from memory and from its file', async () => {
    const messages = fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 60 })
    await fc.assert(
      fc.asyncProperty(messages, fc.integer({ min: 0, max: 2_000 }), async (given, held) => {
        const spool = new Spool(dir, held)
        for (const message of given) await spool.append(message)
        expect((await readAll(spool)).map((each) => [...each])).toEqual(
          given.map((each) => [...each]),
        )
        await spool.close()
      }),
      { numRuns: 200 },
    )
  })

  it('reads messages that are larger than what it reads at once', async () => {
    const spool = new Spool(dir, 1_000)
    const sizes = [3, 5_000_000, 0, 1_048_570, 12]
    for (const size of sizes) await spool.append(Buffer.alloc(size, size % 251))
    const messages = await readAll(spool)
    expect(messages.map(({ length }) => length)).toEqual(sizes)
    expect(
      messages.every((message) => message.every((byte) => byte === message.length % 251)),
    ).toBe(true)
    await spool.close()
  })

  it('has no name on disk, open or closed', async () => {
    const spool = new Spool(dir, 10)
    await spool.append(Buffer.alloc(100))
    expect(spool.fileBytes).toBeGreaterThan(100)
    expect(await readdir(dir)).toEqual([])
    await spool.close()
    await spool.close()
    expect(await readdir(dir)).toEqual([])
  })
})
