// Clients of the behaviour tests: `pg` where an application's view counts, raw connections where the
// bytes do, and the questions that tests ask PostgreSQL itself behind the proxy's back.
import { Client, type ClientConfig, DatabaseError } from 'pg'
import { textBytes } from './frontend-bytes.ts'
import { type ServerMessage, type Endpoint, RawConnection } from './raw-connection.ts'
import { loginTo, type StartupWish } from './raw-login.ts'

/** Longest time that a test waits for one answer. */
const answerTimeoutMs = 20_000

/** A connected client; that its connection dies later is the test's business, not the process's. */
export async function connected(place: ClientConfig): Promise<Client> {
  const client = new Client(place)
  client.on('error', () => undefined)
  await client.connect()
  return client
}

/** `count` clients for the length of `use`. */
export async function withClients<T>(
  place: ClientConfig,
  count: number,
  use: (clients: readonly Client[]) => Promise<T>,
): Promise<T> {
  const clients = await Promise.all(Array.from({ length: count }, () => connected(place)))
  try {
    return await use(clients)
  } finally {
    await Promise.all(clients.map((client) => client.end().catch(() => undefined)))
  }
}

/** One client for the length of `use`. */
export function withClient<T>(
  place: ClientConfig,
  use: (client: Client) => Promise<T>,
): Promise<T> {
  return withClients(place, 1, ([client]) => use(present(client)))
}

/** Two clients for the length of `use`. */
export function withPair<T>(
  place: ClientConfig,
  use: (first: Client, second: Client) => Promise<T>,
): Promise<T> {
  return withClients(place, 2, ([first, second]) => use(present(first), present(second)))
}

/** What a test knows to be there. */
export function present<T>(thing: T | undefined): T {
  if (thing === undefined) throw new Error('it is not there')
  return thing
}

/** First column of all rows, as text. */
export async function column(
  client: Client,
  text: string,
  values: readonly unknown[] = [],
): Promise<(string | null)[]> {
  const types = { getTypeParser: () => (value: string | Buffer) => String(value) }
  const query = { text, values: [...values], rowMode: 'array' as const, types }
  const { rows } = await client.query<(string | null)[]>(query)
  return rows.map(([first]) => first ?? null)
}

/** First column of the first row. */
export async function value(
  client: Client,
  text: string,
  values: readonly unknown[] = [],
): Promise<string | null> {
  const [first = null] = await column(client, text, values)
  return first
}

/** First column of what `sql` gives to the superuser at `url`, over a connection of its own. */
export async function askServer(
  url: string,
  sql: string,
  values: readonly unknown[] = [],
): Promise<(string | null)[]> {
  const client = await connected({ connectionString: url })
  try {
    return await column(client, sql, values)
  } finally {
    await client.end()
  }
}

/** What a client is told when it is refused. */
export type Refusal = {
  readonly code: string | undefined
  readonly severity: string | undefined
  readonly message: string
  readonly hint: string | undefined
}

/** The error that `promise` ends with. Throws when it succeeds. */
export async function refusal(promise: Promise<unknown>): Promise<Refusal> {
  const outcome = await promise.then(
    () => null,
    (error: unknown) => error,
  )
  if (outcome === null) throw new Error('it succeeded, though an error was expected')
  if (outcome instanceof DatabaseError) {
    const { code, severity, message, hint } = outcome
    return { code, severity, message, hint }
  }
  const message = outcome instanceof Error ? outcome.message : 'something that is no error'
  return { code: undefined, severity: undefined, message, hint: undefined }
}

/** Polls until `look` gives true; throws with `what` when it does not within `deadlineMs`. */
export async function until(
  what: string,
  look: () => boolean | Promise<boolean>,
  deadlineMs = 10_000,
): Promise<void> {
  const endMs = performance.now() + deadlineMs
  while (!(await look())) {
    if (performance.now() > endMs) throw new Error(`not within ${deadlineMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** Resolves after `delayMs`. */
export function pause(delayMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delayMs))
}

/** A raw connection that has logged in, and what it was told on the way. */
export type RawClient = {
  readonly connection: RawConnection
  /** Everything from AuthenticationOk to ReadyForQuery, or to the refusal. */
  readonly greeting: readonly ServerMessage[]
  /** Body of BackendKeyData; empty after a refusal. */
  readonly cancelKey: Buffer
}

/** Logs in over a raw connection. */
export async function rawClient(
  place: Endpoint,
  wish: Partial<StartupWish> = {},
): Promise<RawClient> {
  const connection = await RawConnection.open(place)
  const arrivals = await loginTo(place)(connection, { minor: 0, parameters: [], ...wish })
  const greeting = arrivals.filter((arrival) => typeof arrival !== 'string')
  const key = greeting.find(({ code }) => code === 'K')?.bytes.subarray(5)
  return { connection, greeting, cancelKey: key ?? Buffer.alloc(0) }
}

/** SQLSTATE that `sql` ends with, as a simple query; '00000' when it succeeds. */
export async function sqlstateOf({ connection }: RawClient, sql: string): Promise<string> {
  connection.send(textBytes('Q', sql))
  return errorFields(await untilReady(connection))['C'] ?? '00000'
}

/** Messages up to and with ReadyForQuery, or up to the end of the connection. */
export async function untilReady(connection: RawConnection): Promise<ServerMessage[]> {
  const messages: ServerMessage[] = []
  for (;;) {
    const arrival = await connection.next(answerTimeoutMs)
    if (arrival === 'closed') return messages
    if (arrival === 'timeout') {
      throw new Error(`no answer; so far "${messages.map(({ code }) => code).join('')}"`)
    }
    messages.push(arrival)
    if (arrival.code === 'Z') return messages
  }
}

/** Everything until the other side closes. */
export async function untilClosed(connection: RawConnection): Promise<ServerMessage[]> {
  const messages: ServerMessage[] = []
  for (;;) {
    const arrival = await connection.next(answerTimeoutMs)
    if (arrival === 'closed') return messages
    if (arrival === 'timeout') throw new Error('the connection was not closed')
    messages.push(arrival)
  }
}

/** Type letters of messages, one after the other. */
export function codesOf(messages: readonly ServerMessage[]): string {
  return messages.map(({ code }) => code).join('')
}

/** Fields of the first ErrorResponse by letter; empty when there is none. */
export function errorFields(messages: readonly ServerMessage[]): Readonly<Record<string, string>> {
  const error = messages.find(({ code }) => code === 'E')
  const fields = error?.bytes.subarray(5).toString().split('\0') ?? []
  return Object.fromEntries(
    fields.filter((field) => field !== '').map((field) => [field.charAt(0), field.slice(1)]),
  )
}

/** Columns of all DataRows, as text. */
export function rowsOf(messages: readonly ServerMessage[]): (string | null)[][] {
  return messages.filter(({ code }) => code === 'D').map(({ bytes }) => columnsOf(bytes))
}

function columnsOf(bytes: Buffer): (string | null)[] {
  let at = 7
  return Array.from({ length: bytes.readInt16BE(5) }, () => {
    const length = bytes.readInt32BE(at)
    at += 4
    if (length < 0) return null
    const text = bytes.subarray(at, at + length).toString()
    at += length
    return text
  })
}
