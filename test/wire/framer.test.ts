// Framer and FrameScanner: any chunking gives the same frames, hostile lengths cost nothing.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Frame, Framer, FrameScanner } from '../../wire/framer.ts'
import {
  bytesArbitrary,
  chunkLengthsArbitrary,
  chunksOf,
  frameOf,
  sqlstateOf,
} from './arbitraries.ts'

const frameArbitrary = fc
  .tuple(fc.integer({ min: 1, max: 255 }), bytesArbitrary)
  .map(([code, body]) => frameOf(code, body))
const framesArbitrary = fc.array(frameArbitrary, { maxLength: 20 })

const header = (length: number) => {
  const bytes = Buffer.alloc(5, 0x51)
  bytes.writeInt32BE(length, 1)
  return new Uint8Array(bytes)
}

describe('Framer', () => {
  const drain = (framer: Framer): Frame[] => {
    const frames: Frame[] = []
    for (let frame = framer.next(); frame !== undefined; frame = framer.next()) {
      frames.push({ code: frame.code, bytes: new Uint8Array(frame.bytes) })
    }
    return frames
  }

  it('gives the same frames at any chunking, from a chunk that is overwritten after the drain', () => {
    fc.assert(
      fc.property(framesArbitrary, chunkLengthsArbitrary, (frames, lengths) => {
        const framer = new Framer(1000)
        const shared = new Uint8Array(64)
        const seen = chunksOf(Buffer.concat(frames), lengths).flatMap((chunk) => {
          shared.set(chunk)
          framer.push(shared.subarray(0, chunk.length))
          const drained = drain(framer)
          shared.fill(0xee)
          return drained
        })
        expect(seen).toEqual(frames.map((bytes) => ({ code: bytes[0], bytes })))
        expect(framer.bufferedBytes).toBe(0)
      }),
    )
  })

  it('keeps undrained frames when own() is called before the chunk is overwritten', () => {
    fc.assert(
      fc.property(framesArbitrary, chunkLengthsArbitrary, (frames, lengths) => {
        const framer = new Framer(1000)
        const seen: Frame[] = []
        for (const chunk of chunksOf(Buffer.concat(frames), lengths)) {
          framer.push(chunk)
          const frame = framer.next()
          if (frame !== undefined) seen.push({ ...frame, bytes: new Uint8Array(frame.bytes) })
          framer.own()
          chunk.fill(0xee)
        }
        seen.push(...drain(framer))
        expect(seen.map(({ bytes }) => bytes)).toEqual(frames)
      }),
    )
  })

  it.each([[-1], [0], [3], [1001], [0x7fff_ffff], [-0x8000_0000]])(
    'refuses length %i as soon as the header is known',
    (length) => {
      const framer = new Framer(1000)
      framer.push(header(length))
      expect(sqlstateOf(() => framer.next())).toBe('08P01')
    },
  )

  it('accepts lengths 4 and frameBytesMax, and follows a bound that is raised later', () => {
    const framer = new Framer(8)
    framer.push(frameOf(1, new Uint8Array()))
    expect(framer.next()?.bytes.length).toBe(5)
    framer.push(frameOf(1, new Uint8Array(4)))
    expect(framer.next()?.bytes.length).toBe(9)
    framer.push(frameOf(1, new Uint8Array(5)))
    expect(sqlstateOf(() => framer.next())).toBe('08P01')
    framer.frameBytesMax = 9
    expect(framer.next()?.bytes.length).toBe(10)
  })

  it('allocates nothing for a length that is only announced', () => {
    const before = process.memoryUsage().arrayBuffers
    const framers = Array.from({ length: 50 }, () => {
      const framer = new Framer(0x7fff_ffff)
      framer.push(header(1_000_000_000))
      expect(framer.next()).toBeUndefined()
      return framer
    })
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000)
    expect(framers.every((framer) => framer.bufferedBytes === 5)).toBe(true)
  })
})

describe('FrameScanner', () => {
  type Event = { readonly kind: 'stream' | 'whole'; readonly bytes: Uint8Array }

  /** Even codes are streamed. Checks within the callbacks that views live as long as promised. */
  const scan = (chunks: readonly Uint8Array[], wholeBytesMax = 1000) => {
    const events: Event[] = []
    const headers: [number, number][] = []
    let slices: { view: Uint8Array; copy: Uint8Array }[] = []
    let slicesOfAPush = 0
    const scanner = new FrameScanner(
      {
        header: (code, length) => {
          headers.push([code, length])
          return code % 2 === 0 ? 'stream' : 'whole'
        },
        slice: (bytes) => {
          slices.push({ view: bytes, copy: new Uint8Array(bytes) })
          events.push({ kind: 'stream', bytes: new Uint8Array(bytes) })
        },
        frame: (code, bytes) => {
          expect(code).toBe(bytes[0])
          events.push({ kind: 'whole', bytes: new Uint8Array(bytes) })
        },
      },
      wholeBytesMax,
    )
    for (const chunk of chunks) {
      slices = []
      scanner.push(chunk)
      for (const { view, copy } of slices) expect(Buffer.compare(view, copy)).toBe(0)
      slicesOfAPush = Math.max(slicesOfAPush, slices.length)
      chunk.fill(0xee)
    }
    return { events, headers, slicesOfAPush }
  }

  /** Neighbouring stream events joined: how a stream is cut is the chunking's business. */
  const joined = (events: readonly Event[]): Event[] => {
    const result: Event[] = []
    for (const event of events) {
      const last = result.at(-1)
      if (last?.kind === 'stream' && event.kind === 'stream') {
        const bytes = new Uint8Array(Buffer.concat([last.bytes, event.bytes]))
        result[result.length - 1] = { kind: 'stream', bytes }
      } else result.push(event)
    }
    return result
  }

  it('hands on every byte once and in order, at any chunking', () => {
    fc.assert(
      fc.property(framesArbitrary, chunkLengthsArbitrary, (frames, lengths) => {
        const { events, headers } = scan(chunksOf(Buffer.concat(frames), lengths))
        const expected = frames.map((bytes): Event => {
          return { kind: (bytes[0] ?? 0) % 2 === 0 ? 'stream' : 'whole', bytes }
        })
        expect(joined(events)).toEqual(joined(expected))
        expect(headers).toEqual(frames.map((bytes) => [bytes[0], bytes.length - 1]))
      }),
    )
  })

  it('joins the streamed frames of one chunk into one slice', () => {
    const frames = [2, 4, 6, 8].map((code) => frameOf(code, new Uint8Array(10)))
    const { events, slicesOfAPush } = scan([new Uint8Array(Buffer.concat(frames))])
    expect(slicesOfAPush).toBe(1)
    expect(events).toHaveLength(1)
  })

  it('passes a frame on that is far longer than wholeBytesMax when it is streamed', () => {
    const { events } = scan([frameOf(2, new Uint8Array(100_000))], 10)
    expect(events.map(({ bytes }) => bytes.length)).toEqual([100_005])
  })

  it.each([
    ['length 3 of a streamed frame', 2, 3],
    ['a negative length', 2, -5],
    ['a whole frame above the bound', 1, 1001],
  ])('refuses %s, its header cut or not', (_, code, length) => {
    const bytes = header(length)
    bytes[0] = code
    expect(sqlstateOf(() => scan([new Uint8Array(bytes)]))).toBe('08P01')
    expect(sqlstateOf(() => scan(chunksOf(bytes, [2])))).toBe('08P01')
  })
})
