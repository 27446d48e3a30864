// One round trip of prepared statements as a query of pg's. Arrays are written in binary straight
// out of the rows; large values go to the socket as they are, so that a row of 100 MB is not copied
// again and again.
import type { Connection, Submittable } from 'pg'
import { assert } from '../../core/assert.ts'
import { writeExecute, writeParse, writeSync } from '../../wire/frontend.ts'
import { Writer } from '../../wire/writer.ts'
import type { Param, Statement } from './statements.ts'

/** Values from here on are not copied. */
const largeBytes = 64 << 10
const scratchBytes = 256 << 10

/** What the server said: the rows that each statement touched, or its first error. */
export type Answer =
  | { readonly kind: 'done'; readonly counts: readonly number[] }
  | { readonly kind: 'failed'; readonly error: Error }

/** Statements that run up to the first error; answered once the server is ready again. */
export class Exchange implements Submittable {
  readonly #statements: readonly Statement[]
  /** Names of the statements that the server has, by text. */
  readonly #prepared: Map<string, string>
  readonly #answered: (answer: Answer) => void
  readonly #counts: number[] = []
  #error: Error | null = null

  constructor(
    statements: readonly Statement[],
    prepared: Map<string, string>,
    answered: (answer: Answer) => void,
  ) {
    this.#statements = statements
    this.#prepared = prepared
    this.#answered = answered
  }

  submit(connection: Connection): void {
    const chunks = new Chunks()
    for (const statement of this.#statements) this.#write(chunks, statement)
    writeSync(chunks.writer)
    const { stream } = connection
    stream.cork()
    for (const chunk of chunks.take()) stream.write(chunk)
    stream.uncork()
    // pg takes an error for the end of a query; what we wait for is the server's readiness.
    connection.once('readyForQuery', () => {
      const error = this.#error
      if (error !== null) this.#answered({ kind: 'failed', error })
      else this.#answered({ kind: 'done', counts: this.#counts })
    })
  }

  handleCommandComplete({ text }: { readonly text: string }): void {
    this.#counts.push(Number(/(\d+)$/.exec(text)?.[1] ?? 0))
  }

  /**
   * Of the server, which is ready again soon; when the connection is lost, its owner is told as
   * well.
   */
  handleError(error: Error): void {
    this.#error ??= error
  }

  handleReadyForQuery(): void {}

  handleDataRow(): void {}

  #write(chunks: Chunks, { text, types, params }: Statement): void {
    let name = this.#prepared.get(text)
    if (name === undefined) {
      name = `s${this.#prepared.size}`
      this.#prepared.set(text, name)
      writeParse(chunks.writer, name, text, types)
    }
    writeBind(chunks, name, params)
    writeExecute(chunks.writer, '', 0)
  }
}

/** Bytes to send: what is small in buffers of ours, what is large as it is. */
class Chunks {
  readonly #done: Uint8Array[] = []
  writer = new Writer(4096)

  /** Appends a value behind its length. */
  value(bytes: Uint8Array | null): void {
    if (bytes === null) return this.writer.i32(-1)
    this.writer.i32(bytes.length)
    if (bytes.length < largeBytes) {
      this.writer.raw(bytes)
      if (this.writer.length < scratchBytes) return
    }
    this.#done.push(this.writer.bytes())
    this.writer = new Writer(4096)
    if (bytes.length >= largeBytes) this.#done.push(bytes)
  }

  take(): readonly Uint8Array[] {
    return [...this.#done, this.writer.bytes()]
  }
}

/**
 * Bind with all parameters in binary and no result columns; its length is known before its values
 * are looked at.
 */
function writeBind(chunks: Chunks, statement: string, params: readonly Param[]): void {
  const sizes = params.map(sizeOf)
  const paramsBytes = sizes.reduce((sum, size) => sum + 4 + size, 0)
  const length = 4 + 1 + Buffer.byteLength(statement) + 1 + 4 + 2 + paramsBytes + 2
  assert(length <= 0x7fff_ffff, 'a batch fits into one message')
  const { writer } = chunks
  writer.u8(0x42)
  writer.i32(length)
  writer.u8(0)
  writer.cstring(statement)
  writer.i16(1)
  writer.i16(1)
  writer.i16(params.length)
  for (const [index, param] of params.entries()) writeParam(chunks, param, sizes[index] ?? 0)
  chunks.writer.i16(0)
}

/** ndim, has nulls, element type, length and lower bound of its one dimension. */
const arrayHeaderBytes = 20

function sizeOf(param: Param): number {
  if (param.kind === 'value') return param.bytes.length
  let size = arrayHeaderBytes
  for (const row of param.rows) size += 4 + (row[param.place]?.length ?? 0)
  return size
}

function writeParam(chunks: Chunks, param: Param, size: number): void {
  if (param.kind === 'value') return chunks.value(param.bytes)
  const { writer } = chunks
  writer.i32(size)
  writer.i32(1)
  writer.i32(1)
  writer.u32(param.elementOid)
  writer.i32(param.rows.length)
  writer.i32(1)
  for (const row of param.rows) {
    const value = row[param.place]
    assert(value !== undefined, 'a statement is given the columns that its rows have')
    chunks.value(value)
  }
}
