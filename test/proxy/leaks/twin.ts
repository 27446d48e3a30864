// One client twice: through the proxy and on plain PostgreSQL. Both are sent the same, and must be told the same: rows,
// tags, errors, notifications, the transaction's status, and the values of reported parameters.
import { type RawClient, rawClient, untilReady } from '../../support/clients.ts'
import {
  bindBytes,
  cancelBytes,
  executeBytes,
  frontendMessage,
  parseBytes,
  targetBytes,
  textBytes,
} from '../../support/frontend-bytes.ts'
import { type Endpoint, RawConnection, type ServerMessage } from '../../support/raw-connection.ts'

/** What is sent: a query string, or messages of the extended protocol. */
export type Command =
  | { readonly kind: 'simple'; readonly sql: string }
  /** `rowsMax`: 0 for all; a portal that stops at its limit is given up, or goes on with `more`. */
  | {
      readonly kind: 'extended'
      readonly sql: string
      readonly params: readonly string[]
      readonly rowsMax: number
    }
  | { readonly kind: 'more' }
  | { readonly kind: 'parse'; readonly name: string; readonly sql: string }
  | { readonly kind: 'bind'; readonly name: string; readonly params: readonly string[] }
  | { readonly kind: 'close'; readonly name: string }
  | { readonly kind: 'cancel'; readonly sql: string }

type Place = Endpoint
type Side = { readonly client: RawClient; readonly reported: Map<string, string> }

const empty = Buffer.alloc(0)
const sync = frontendMessage('S')
const reportedNames = [
  'application_name',
  'DateStyle',
  'TimeZone',
  'session_authorization',
  'is_superuser',
]
const cancelAfterMs = 300

/** Both sides of one client. */
export class Twin {
  readonly #places: readonly Place[]
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

  async connect(): Promise<void> {
    this.#sides = await Promise.all(
      this.#places.map(async (place) => {
        const client = await rawClient(place)
        const reported = new Map<string, string>()
        hear(client.greeting, reported)
        return { client, reported }
      }),
    )
    this.status = 'I'
    this.#early.clear()
  }

  disconnect(): void {
    for (const { client } of this.#sides) client.connection.destroy()
    this.#sides = []
  }

  /** '' when both sides were told the same, else what either was told; the plain side's rows are kept. */
  async send(command: Command): Promise<{ readonly wrong: string; readonly told: string }> {
    const channel = /^LISTEN (\w+)/.exec('sql' in command ? command.sql : '')?.[1]
    if (channel !== undefined && this.status !== 'I') this.#early.add(channel)
    const answers = await Promise.all(
      this.#sides.map((side, at) => this.#sendTo(side, at, command)),
    )
    const [pooled = '', plain = ''] = answers
    this.status = plain.at(-1) ?? '?'
    if (this.status === 'I') this.#early.clear()
    const wrong = pooled === plain ? '' : `told ${pooled}\n    instead of ${plain}`
    return { wrong, told: plain }
  }

  async #sendTo({ client, reported }: Side, at: number, command: Command): Promise<string> {
    const { connection, cancelKey } = client
    connection.send(bytesOf(command))
    const place = this.#places[at]
    if (command.kind === 'cancel' && place !== undefined) {
      await new Promise((resolve) => setTimeout(resolve, cancelAfterMs))
      const other = await RawConnection.open(place)
      other.send(cancelBytes(cancelKey))
      other.finish()
    }
    const messages = await untilReady(connection)
    hear(messages, reported)
    const status =
      messages.at(-1)?.code === 'Z' ? messages.at(-1)?.bytes.toString('latin1', 5) : 'closed'
    // Of a failed transaction nobody can ask, and PostgreSQL tells at its end.
    const parameters =
      status === 'I' ? reportedNames.map((name) => `${name}=${reported.get(name)}`).join(' ') : ''
    const isEarly = (text: string) => [...this.#early].some((name) => text.startsWith(`A(${name} `))
    const said = messages
      .map((message) => told(message, cancelKey))
      .filter((text) => text !== '' && !isEarly(text))
    return `${said.join(' ')} ${parameters} ${status ?? '?'}`
  }
}

function bytesOf(command: Command): Buffer {
  switch (command.kind) {
    case 'simple':
    case 'cancel':
      return textBytes('Q', command.sql)
    case 'extended':
      return Buffer.concat([
        parseBytes(empty, Buffer.from(command.sql), []),
        ...execution('', command.params, command.rowsMax),
        sync,
      ])
    case 'more':
      return Buffer.concat([executeBytes(empty, 1), sync])
    case 'parse':
      return Buffer.concat([
        parseBytes(Buffer.from(command.name), Buffer.from(command.sql), []),
        sync,
      ])
    case 'bind':
      return Buffer.concat([...execution(command.name, command.params), sync])
    case 'close':
      return Buffer.concat([targetBytes('C', 'S', Buffer.from(command.name)), sync])
  }
}

function execution(name: string, params: readonly string[], rowsMax = 0): readonly Buffer[] {
  const values = params.map((text) => ({ format: 0 as const, value: Buffer.from(text) }))
  return [bindBytes(empty, Buffer.from(name), values, []), executeBytes(empty, rowsMax)]
}

function hear(messages: readonly ServerMessage[], reported: Map<string, string>): void {
  for (const { code, bytes } of messages) {
    const [name = '', value = ''] = bytes.subarray(5).toString().split('\0')
    if (code === 'S') reported.set(name, value)
  }
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
    default:
      return `${code}(${body.toString('latin1').replaceAll(/[^ -~]/g, '.')})`
  }
}
