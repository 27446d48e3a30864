// One client twice: through the proxy and on plain PostgreSQL. Both are sent the same, and must be told the same: rows,
// tags, errors, notifications, the transaction's status, and the values of reported parameters.
import { type RawClient, rawClient, untilReady } from '../../support/clients.ts'
import { cancelBytes, frontendMessage } from '../../support/frontend-bytes.ts'
import { type Endpoint, RawConnection, type ServerMessage } from '../../support/raw-connection.ts'
import { type Command, messagesOf, type Oids, textOf } from './command.ts'

type Side = {
  readonly client: RawClient
  readonly oids: Oids
  readonly reported: Map<string, string>
}

/** Where both sides of a client connect, and the numbers that functions have there. */
export type Place = { readonly endpoint: Endpoint; readonly oids: Oids }

/** What both sides were told; `wrong` is '' when it was the same. */
export type Answer = {
  readonly wrong: string
  readonly pooled: string
  readonly plain: string
}

/** How a client goes without a word, or with Terminate, in the middle of what it sends. */
export type Vanishing = {
  /** So much of the command's bytes is sent, of 100. */
  readonly percent: number
  readonly terminates: boolean
  readonly afterMs: number
}

const reportedNames = [
  'application_name',
  'DateStyle',
  'TimeZone',
  'session_authorization',
  'is_superuser',
]

/** Both sides of one client. */
export class Twin {
  readonly #places: readonly [Place, Place]
  #sides: readonly Side[] = []
  /** Transaction status that both were told last. */
  status = 'I'
  /**
   * Channels that LISTEN has named since a transaction began. Plain PostgreSQL may tell of what was sent to them before the
   * commit, when the session listens to something else already (docs/sessions.md).
   */
  readonly #early = new Set<string>()

  constructor(proxy: Place, direct: Place) {
    this.#places = [proxy, direct]
  }

  /** `parameters`: of the startup packet. */
  async connect(parameters: readonly (readonly [string, string])[] = []): Promise<void> {
    this.#sides = await Promise.all(
      this.#places.map(async ({ endpoint, oids }) => {
        const client = await rawClient(endpoint, { parameters })
        const reported = new Map<string, string>()
        hear(client.greeting, reported)
        return { client, oids, reported }
      }),
    )
    this.status = 'I'
    this.#early.clear()
  }

  disconnect(): void {
    for (const { client } of this.#sides) client.connection.destroy()
    this.#sides = []
  }

  /** Numbers by which the proxy and PostgreSQL know the client's sides. */
  get processIds(): readonly number[] {
    return this.#sides.map(({ client }) => client.cancelKey.readInt32BE(0))
  }

  /** `cancelAfterMs`: when a cancel request follows. */
  async send(command: Command, cancelAfterMs: number | null = null): Promise<Answer> {
    this.start(command, cancelAfterMs)
    return await this.answers()
  }

  /** The same without waiting for the answers. */
  start(command: Command, cancelAfterMs: number | null = null): void {
    const channels = [...textOf(command).matchAll(/\bLISTEN (\w+)/g)].map(([, name]) => name ?? '')
    if (channels.length > 0) for (const name of channels) this.#early.add(name)
    for (const [at, { client, oids }] of this.#sides.entries()) {
      client.connection.send(messagesOf(command, oids))
      if (cancelAfterMs !== null) void this.#cancel(at, cancelAfterMs)
    }
  }

  async answers(): Promise<Answer> {
    const [pooled = '', plain = ''] = await Promise.all(this.#sides.map((side) => this.#hear(side)))
    this.status = plain.at(-1) ?? '?'
    if (this.status === 'I') this.#early.clear()
    const wrong = pooled === plain ? '' : `told ${pooled}\n    instead of ${plain}`
    return { wrong, pooled, plain }
  }

  /** Sends a part of the command and goes. */
  async vanish(command: Command, { percent, terminates, afterMs }: Vanishing): Promise<void> {
    for (const { client, oids } of this.#sides) {
      const bytes = messagesOf(command, oids)
      const all = percent >= 100
      client.connection.send(all ? bytes : bytes.subarray(0, (bytes.length * percent) / 100))
      if (terminates && all) client.connection.send(frontendMessage('X'))
    }
    if (afterMs > 0) await new Promise((resolve) => setTimeout(resolve, afterMs))
    this.disconnect()
  }

  async #cancel(at: number, afterMs: number): Promise<void> {
    const place = this.#places[at]
    const key = this.#sides[at]?.client.cancelKey
    if (place === undefined || key === undefined) return
    await new Promise((resolve) => setTimeout(resolve, afterMs))
    const other = await RawConnection.open(place.endpoint)
    other.send(cancelBytes(key))
    other.finish()
  }

  async #hear({ client, reported }: Side): Promise<string> {
    const { connection, cancelKey } = client
    const messages = await untilReady(connection)
    hear(messages, reported)
    const last = messages.at(-1)
    const status = last?.code === 'Z' ? last.bytes.toString('latin1', 5) : 'closed'
    // Of a failed transaction nobody can ask, and PostgreSQL tells at its end.
    const parameters =
      status === 'I' ? reportedNames.map((name) => `${name}=${reported.get(name)}`).join(' ') : ''
    const isEarly = (text: string) => [...this.#early].some((name) => text.startsWith(`A(${name} `))
    const said = messages
      .map((message) => told(message, cancelKey))
      .filter((text) => text !== '' && !isEarly(text))
    return `${withoutPlans(said).join(' ')} ${parameters} ${status}`
  }
}

function hear(messages: readonly ServerMessage[], reported: Map<string, string>): void {
  for (const { code, bytes } of messages) {
    const [name = '', value = ''] = bytes.subarray(5).toString().split('\0')
    if (code === 'S') reported.set(name, value)
  }
}

/** What EXPLAIN gives depends on when statistics were gathered, and on clients that have vanished in the middle of a write. */
function withoutPlans(said: readonly string[]): readonly string[] {
  return said.filter((text, at) => {
    const end = said.slice(at).find((next) => !next.startsWith('D('))
    return !text.startsWith('D(') || end?.startsWith('C(EXPLAIN') !== true
  })
}

/** What of a message must be the same on both sides. */
function told({ code, bytes }: ServerMessage, cancelKey: Buffer): string {
  const body = bytes.subarray(5)
  switch (code) {
    case 'S':
    case 'Z':
    case 'T':
    case 'N':
      return ''
    case 'E': {
      const fields = body.toString().split('\0')
      return `E(${fields.filter((field) => /^[CMP]/.test(field)).join(' ')})`
    }
    case 'A': {
      const own = body.readInt32BE(0) === cancelKey.readInt32BE(0)
      const [channel = '', payload = ''] = body.subarray(4).toString().split('\0')
      return `A(${channel} ${payload}${own ? ' own' : ''})`
    }
    default: {
      const text = body.toString('latin1').replaceAll(/[^ -~]/g, '.')
      return `${code}(${text})`
    }
  }
}
