// A long life in short: clients that come, do all sorts of things and go, statement after statement, while the proxy's memory
// is looked at. After the warm-up it must not grow.
import { rawClient, until, untilReady } from '../support/clients.ts'
import {
  bindBytes,
  executeBytes,
  frontendMessage,
  parseBytes,
  textBytes,
} from '../support/frontend-bytes.ts'
import { createRandom, type Random, seedOf } from '../support/random.ts'
import type { RawConnection } from '../support/raw-connection.ts'
import { keptBytes, type MeasuredProxy } from './measured-proxy.ts'

type SoakOptions = {
  readonly statements: number
  /** It ends then, whatever has been done; of `performance.now()`. */
  readonly endMs: number
  readonly seed: number
  readonly progress: (line: string) => void
}

/** What was found, for people; `kept`: the bounds were kept. */
type SoakResult = {
  readonly what: string
  readonly kept: boolean
  readonly statements: number
  /** What JavaScript holds more at the end than after the warm-up. */
  readonly grownBytes: number
}

export const soakSetup = 'CREATE TABLE soak (id bigint PRIMARY KEY, note text)'

const clientCount = 16
/** Statements that a client does before it goes. */
const livesMax = 5_000
/** Of a long run; a short one has fewer, as each of them collects all garbage. */
const samplesMax = 40
const statementsPerSample = 1_000
/** Share of the run that counts as warm-up: caches fill, code is compiled. */
const warmUp = 0.4
/** 1 MiB for each million statements. */
const slopeBytesMax = 1024 * 1024
/** A short run's slope is mostly noise: so much between its first and last sample is none. */
const noiseBytes = 4 * 1024 * 1024

type Sample = { readonly statements: number; readonly kept: number; readonly resident: number }
type Count = { statements: number; errors: number; clients: number }
const empty = Buffer.alloc(0)
const sync = frontendMessage('S')

export async function soak(proxy: MeasuredProxy, options: SoakOptions): Promise<SoakResult> {
  const count: Count = { statements: 0, errors: 0, clients: 0 }
  const samples: Sample[] = []
  const every = Math.max(statementsPerSample, Math.floor(options.statements / samplesMax))
  const goesOn = () => count.statements < options.statements && performance.now() < options.endMs
  const startedMs = performance.now()
  const clients = Array.from({ length: clientCount }, async (_, number) => {
    const random = createRandom(seedOf(options.seed, number))
    while (goesOn()) await live(proxy, random, count, goesOn)
  })
  const all = Promise.all(clients).then(() => true)
  while (goesOn()) {
    const next = (samples.length + 1) * every
    await until('the next sample is due', () => count.statements >= next || !goesOn(), 3_600_000)
    const held = await proxy.held()
    samples.push({
      statements: count.statements,
      kept: keptBytes(held),
      resident: held.residentBytes,
    })
    options.progress(describeSample(samples.at(-1), count, startedMs))
  }
  await all
  return verdict(samples, count)
}

function verdict(samples: readonly Sample[], count: Count): SoakResult {
  const late = samples.slice(Math.floor(samples.length * warmUp))
  const slopeBytes = slope(late, ({ kept }) => kept)
  const residentSlope = slope(late, ({ resident }) => resident)
  const [first, last] = [late[0], late.at(-1)]
  const grown = (last?.kept ?? 0) - (first?.kept ?? 0)
  const kept = slopeBytes < slopeBytesMax || grown < noiseBytes
  const kib = (bytes: number) => (bytes / 1024).toFixed(0)
  const what =
    `${count.statements} statements (${count.errors} errors, ${count.clients} clients): ` +
    `${kib(slopeBytes)} KiB held and ${kib(residentSlope)} KiB resident more by million after the warm-up, ` +
    `${kib(grown)} KiB between the first and the last of ${late.length} samples`
  return { what, kept, statements: count.statements, grownBytes: grown }
}

function describeSample(sample: Sample | undefined, { clients }: Count, startedMs: number): string {
  if (sample === undefined) return ''
  const mebibytes = (bytes: number) => `${(bytes / 1024 / 1024).toFixed(1)} MiB`
  const seconds = Math.round((performance.now() - startedMs) / 1000)
  const { statements, kept, resident } = sample
  return `${seconds} s: ${statements} statements, ${clients} clients, ${mebibytes(kept)} held, ${mebibytes(resident)} resident`
}

/** Slope of the line through the samples by least squares, in bytes by million statements. */
function slope(samples: readonly Sample[], of: (sample: Sample) => number): number {
  const mean = (values: readonly number[]) =>
    values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)
  const x = mean(samples.map(({ statements }) => statements))
  const y = mean(samples.map(of))
  let above = 0
  let below = 0
  for (const sample of samples) {
    above += (sample.statements - x) * (of(sample) - y)
    below += (sample.statements - x) ** 2
  }
  return below === 0 ? 0 : (above / below) * 1_000_000
}

/** One client from its login to its end; half of the time it vanishes. */
async function live(
  { place }: MeasuredProxy,
  random: Random,
  count: Count,
  goesOn: () => boolean,
): Promise<void> {
  const { connection } = await rawClient(place)
  count.clients += 1
  const end = count.statements + random.below(livesMax)
  while (goesOn() && count.statements < end) {
    const { bytes, readies, statements } = deed(random)
    connection.send(bytes)
    await answers(connection, readies, count)
    count.statements += statements
  }
  if (random.oneIn(2)) connection.send(frontendMessage('X'))
  connection.destroy()
}

async function answers(connection: RawConnection, readies: number, count: Count): Promise<void> {
  for (let ready = 0; ready < readies; ready += 1) {
    const messages = await untilReady(connection)
    if (messages.some(({ code }) => code === 'E')) count.errors += 1
    if (messages.at(-1)?.code !== 'Z') throw new Error('a client of the soak was cut off')
  }
}

type Deed = { readonly bytes: Buffer; readonly readies: number; readonly statements: number }

const simple = (...sql: readonly string[]): Deed => ({
  bytes: Buffer.concat(sql.map((text) => textBytes('Q', text))),
  readies: sql.length,
  statements: sql.length,
})

function extended(sql: string, name: string, times: number): Deed {
  const run = Array.from({ length: times }, () => [
    bindBytes(empty, Buffer.from(name), [], []),
    executeBytes(empty, 0),
  ]).flat()
  const parse = parseBytes(Buffer.from(name), Buffer.from(sql), [])
  return { bytes: Buffer.concat([parse, ...run, sync]), readies: 1, statements: times }
}

/** Any of the things that clients do. Texts differ without end: caches of theirs must be bounded. */
function deed(random: Random): Deed {
  const id = random.below(1_000_000_000)
  const deeds = [
    () => simple(...Array.from({ length: 50 }, () => `SELECT ${random.below(1000)} AS one`)),
    () => simple('SELECT id, note FROM soak WHERE id = 7', 'SELECT count(*) FROM soak'),
    () => simple(`SELECT ${id} AS "c${id}"`),
    () => extended('SELECT note FROM soak WHERE id = 3', '', 50),
    () => extended(`SELECT 1 AS "p${id}"`, `p${id}`, 3),
    () =>
      simple(
        `INSERT INTO soak VALUES (${id % 500}, 'x') ON CONFLICT (id) DO UPDATE SET note = 'y'`,
      ),
    () => simple('BEGIN', `SET LOCAL work_mem = '${1 + random.below(60)}MB'`, 'SELECT 1', 'COMMIT'),
    () => simple('BEGIN', 'SELECT 1 / 0', 'ROLLBACK'),
    () => simple(`SET statement_timeout = '${10_000 + random.below(1000)}'`, 'SELECT 1'),
    () => simple(`SET application_name = 'app${random.below(10_000)}'`),
    () => simple(`SELECT * FROM missing${id}`),
    () => simple("SELECT repeat('x', 20000) FROM generate_series(1, 5)"),
  ] as const
  return random.pick(deeds)()
}
