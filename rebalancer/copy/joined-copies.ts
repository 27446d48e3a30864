// Several COPY TO STDOUT as the data of one COPY FROM STDIN. In text format they follow each other; in binary format
// (PostgreSQL manual, COPY, "Binary Format") a header of 19 bytes comes first and a trailer of two last, once each.

const headerBytes = 19
const trailerBytes = 2

/** Bytes of `copies`, one after the other; those of text are passed on uncopied. */
export async function* joinedCopies(
  copies: AsyncIterable<AsyncIterable<Buffer>>,
  format: 'binary' | 'text',
): AsyncGenerator<Buffer> {
  let trailer: Buffer = Buffer.alloc(0)
  let first = true
  for await (const copy of copies) {
    if (format === 'text') {
      yield* copy
      continue
    }
    let skipped = first ? headerBytes : 0
    first = false
    trailer = Buffer.alloc(0)
    for await (const chunk of copy) {
      const body = chunk.subarray(Math.min(chunk.length, headerBytes - skipped))
      skipped += chunk.length - body.length
      const all = trailer.length === 0 ? body : Buffer.concat([trailer, body])
      const end = Math.max(0, all.length - trailerBytes)
      trailer = all.subarray(end)
      if (end > 0) yield all.subarray(0, end)
    }
  }
  if (trailer.length > 0) yield trailer
}
