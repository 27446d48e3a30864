// Where the traffic comes from: a file, standard input, or pg_stat_statements.
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { CommandFailure } from '../load-config.ts'
import { csvRecords, jsonRecords, stderrRecords } from './log-records.ts'
import { loggedStatements } from './log-statements.ts'
import { detectFormat, type Observation, type TrafficFormat } from './observation.ts'
import { fileStatements } from './sql-file.ts'

const headBytes = 64 * 1024

/**
 * Statements of a file, `-` being standard input. `database` leaves out what a log says of others.
 * @throws CommandFailure when the file cannot be read
 */
export async function trafficOf(
  file: string,
  format: TrafficFormat | null,
  database: string | null,
): Promise<AsyncIterable<Observation>> {
  const { input, head } = file === '-' ? await fromStdin() : await fromFile(file)
  const lines = linesOf(input)
  switch (format ?? detectFormat(head)) {
    case 'sql':
      return fileStatements(lines)
    case 'csv':
      return loggedStatements(csvRecords(lines), database)
    case 'json':
      return loggedStatements(jsonRecords(lines), database)
    case 'stderr':
      return loggedStatements(stderrRecords(lines), database)
  }
}

/** The interface is made when the first line is asked for: it would lose what comes before anybody listens. */
async function* linesOf(input: Readable): AsyncGenerator<string> {
  yield* createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })
}

type Opened = { readonly input: Readable; readonly head: string }

async function fromFile(file: string): Promise<Opened> {
  try {
    const handle = await open(file)
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(headBytes), 0, headBytes, 0)
      const head = buffer.subarray(0, bytesRead).toString()
      return { input: createReadStream(file), head }
    } finally {
      await handle.close()
    }
  } catch (cause) {
    throw new CommandFailure(`cannot read "${file}": ${String(cause)}`, { cause })
  }
}

async function fromStdin(): Promise<Opened> {
  const chunks = process.stdin[Symbol.asyncIterator]()
  const first: IteratorResult<unknown> = await chunks.next()
  const head = first.done === true ? Buffer.alloc(0) : first.value
  async function* all() {
    yield head
    for (;;) {
      const next: IteratorResult<unknown> = await chunks.next()
      if (next.done === true) return
      yield next.value
    }
  }
  return { input: Readable.from(all()), head: Buffer.isBuffer(head) ? head.toString() : '' }
}
