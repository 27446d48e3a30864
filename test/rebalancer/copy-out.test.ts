// Reading COPY TO STDOUT from a socket that gives bytes in chunks of any length, with other messages among the rows.
import { Duplex } from 'node:stream'
import { array, assert, asyncProperty, constantFrom, integer, nat, oneof, record } from 'fast-check'
import { Client } from 'pg'
import { describe, expect, it } from 'vitest'
import { CopyOut } from '../../rebalancer/copy/copy-out.ts'
import { backend } from '../../wire/codes.ts'

type Message = { readonly kind: 'row' | 'notice' | 'status'; readonly length: number }

const message = record<Message>({
  kind: constantFrom('row', 'row', 'row', 'row', 'notice', 'status'),
  length: oneof(
    { weight: 20, arbitrary: nat(40) },
    { weight: 4, arbitrary: nat(9_000) },
    { weight: 1, arbitrary: integer({ min: 65_000, max: 140_000 }) },
  ),
})
/** Lengths of chunks, taken again and again. */
const cuts = array(oneof(integer({ min: 1, max: 12 }), integer({ min: 1, max: 20_000 })), {
  minLength: 1,
  maxLength: 8,
})

describe('COPY TO STDOUT', () => {
  it('gives every row message as it came, however the bytes are cut, and leaves its connection in order', async () => {
    await assert(
      asyncProperty(array(message, { maxLength: 40 }), cuts, async (messages, lengths) => {
        const sent = messages.map(encoded)
        const rows = sent.filter((bytes) => bytes[0] === backend.copyData)
        const server = new ScriptedServer(lengths)
        const client = new Client({ stream: () => server, user: 'u' })
        await client.connect()
        server.answer = [
          frame(backend.copyOutResponse, [0, 0, 0]),
          ...sent,
          ...ended(`COPY ${rows.length}`),
        ]
        const reading = client.query(new CopyOut('COPY'))
        const given: Uint8Array[] = []
        for (let batch = await reading.next(); batch !== null; batch = await reading.next()) {
          given.push(...batch)
          await new Promise((resolve) => setImmediate(resolve))
        }
        expect(Buffer.concat(given).equals(Buffer.concat(rows))).toBe(true)
        expect(reading.bytes).toBe(rows.reduce((sum, { length }) => sum + length - 5, 0))
        server.answer = ended('LISTEN')
        expect((await client.query('LISTEN x')).command).toBe('LISTEN')
      }),
      { numRuns: 300 },
    )
  })
})

function frame(type: number, body: readonly number[] | Buffer): Buffer {
  const header = Buffer.alloc(5)
  header[0] = type
  header.writeUInt32BE(body.length + 4, 1)
  return Buffer.concat([header, Buffer.from(body)])
}

/** Rows have bytes that look like types and lengths. */
function encoded({ kind, length }: Message): Buffer {
  if (kind === 'row') return frame(backend.copyData, Buffer.alloc(length, 'dH\0\0\0\x05N\0\0Z'))
  if (kind === 'status') return frame(backend.parameterStatus, Buffer.from('name\0value\0'))
  const text = `SNOTICE\0C00000\0M${'n'.repeat(length)}\0\0`
  return frame(backend.noticeResponse, Buffer.from(text))
}

function ended(tag: string): readonly Buffer[] {
  const done = tag.startsWith('COPY') ? [frame(backend.copyDone, [])] : []
  const complete = frame(backend.commandComplete, Buffer.from(`${tag}\0`))
  return [...done, complete, frame(backend.readyForQuery, Buffer.from('I'))]
}

/** The socket of a client whose server logs everybody in and has one answer. */
class ScriptedServer extends Duplex {
  answer: readonly Buffer[] = [
    frame(backend.authentication, [0, 0, 0, 0]),
    frame(backend.readyForQuery, Buffer.from('I')),
  ]
  readonly #lengths: readonly number[]

  constructor(lengths: readonly number[]) {
    super()
    this.#lengths = lengths
  }

  connect(): void {
    setImmediate(() => this.emit('connect'))
  }

  setNoDelay(): void {}

  override _read(): void {}

  override _write(_: unknown, __: string, done: () => void): void {
    const bytes = Buffer.concat(this.answer)
    setImmediate(() => {
      for (let at = 0, cut = 0; at < bytes.length; cut += 1) {
        const end = at + (this.#lengths[cut % this.#lengths.length] ?? 1)
        this.push(bytes.subarray(at, end))
        at = end
      }
    })
    done()
  }
}
