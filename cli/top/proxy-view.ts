// One proxy as its admin console shows it. The connection is kept between samples and made anew when it was lost.
import { Client } from 'pg'
import { type AdminLogin, type ProxyAddress, transportTo } from '../admin-client.ts'
import { proxyName } from '../proxies.ts'

/** A row of a SHOW command, by column. */
export type ShownRow = Readonly<Record<string, string | null>>

/** What one proxy answered; `error` says why it did not, and the rest is empty then. */
export type ProxySample = {
  readonly proxy: string
  readonly error: string | null
  readonly databases: readonly ShownRow[]
  readonly shards: readonly ShownRow[]
  readonly replicas: readonly ShownRow[]
  readonly lanes: readonly ShownRow[]
}

const deadlineMs = 2_000

export class ProxyView {
  readonly #address: ProxyAddress
  readonly #login: AdminLogin
  #client: Client | null = null

  constructor(address: ProxyAddress, login: AdminLogin) {
    this.#address = address
    this.#login = login
  }

  /** Never throws. */
  async sample(): Promise<ProxySample> {
    const proxy = proxyName(this.#address)
    try {
      const client = (this.#client ??= await this.#connect())
      const show = async (what: string) => {
        const { rows } = await client.query<Record<string, string | number | null>>(`SHOW ${what}`)
        return rows.map(textRow)
      }
      const databases = await show('DATABASES')
      const shards = await show('SHARDS')
      const replicas = await show('REPLICAS')
      const lanes = await show('LANES')
      return { proxy, error: null, databases, shards, replicas, lanes }
    } catch (thrown) {
      const error = reasonOf(thrown)
      await this.close()
      return { proxy, error, databases: [], shards: [], replicas: [], lanes: [] }
    }
  }

  async close(): Promise<void> {
    const client = this.#client
    this.#client = null
    await client?.end().catch(() => undefined)
  }

  async #connect(): Promise<Client> {
    const { host, port } = this.#address
    const client = new Client({
      ...transportTo(this.#address),
      host,
      port,
      ...this.#login,
      database: 'ringfence',
      application_name: 'ringfence top',
      connectionTimeoutMillis: deadlineMs,
      query_timeout: deadlineMs,
    })
    client.on('error', () => {
      if (this.#client === client) this.#client = null
    })
    await client.connect()
    return client
  }
}

/** Numbers come as numbers or, the large ones, as texts. */
function textRow(row: Readonly<Record<string, string | number | null>>): ShownRow {
  const cells = Object.entries(row).map(([name, value]) => {
    return [name, value === null ? null : String(value)] as const
  })
  return Object.fromEntries(cells)
}

/** Node puts the attempts at several addresses into an AggregateError without a message. */
function reasonOf(thrown: unknown): string {
  const errors: readonly unknown[] = thrown instanceof AggregateError ? thrown.errors : [thrown]
  return errors.map((error) => (error instanceof Error ? error.message : String(error))).join('; ')
}
