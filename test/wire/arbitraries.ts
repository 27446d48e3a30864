// Arbitraries and small tools that the tests of wire/ share.
import * as fc from 'fast-check'
import { PgError } from '../../core/errors.ts'
import { Writer } from '../../wire/writer.ts'

/** Bytes of one value, short enough that many fit into a run. */
export const bytesArbitrary = fc.uint8Array({ maxLength: 40 })

/** Text that a C string can carry. */
export const textArbitrary = fc
  .string({ unit: 'grapheme', maxLength: 20 })
  .map((text) => text.replaceAll('\0', ''))

export const int16Arbitrary = fc.integer({ min: -0x8000, max: 0x7fff })
export const int32Arbitrary = fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff })
export const oidArbitrary = fc.integer({ min: 0, max: 0xffff_ffff })

/** Lengths of chunks, used one after the other and again from the start. */
export const chunkLengthsArbitrary = fc.array(fc.integer({ min: 1, max: 30 }), {
  minLength: 1,
  maxLength: 8,
})

/** Cuts `bytes` into owned chunks of these lengths. */
export function chunksOf(bytes: Uint8Array, lengths: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = []
  let at = 0
  for (let i = 0; at < bytes.length; i++) {
    const end = at + (lengths[i % lengths.length] ?? 1)
    chunks.push(new Uint8Array(bytes.subarray(at, end)))
    at = end
  }
  return chunks
}

/** What `write` appends to a fresh Writer. */
export function written(write: (w: Writer) => void): Uint8Array {
  const w = new Writer(1)
  write(w)
  return w.take()
}

/** A frame with a correct header around any body. */
export function frameOf(code: number, body: Uint8Array): Uint8Array {
  return written((w) => {
    w.begin(code)
    w.raw(body)
    w.end()
  })
}

/** SQLSTATE of the PgError that `run` throws; 'none' when it returns. Anything else goes through. */
export function sqlstateOf(run: () => unknown): string {
  try {
    run()
    return 'none'
  } catch (thrown) {
    if (thrown instanceof PgError) return thrown.sqlstate
    throw thrown
  }
}

/** A copy that compares equal to plain bytes, whatever view was given. */
export function plain(bytes: Uint8Array | null): Uint8Array | null {
  return bytes === null ? null : new Uint8Array(bytes)
}
