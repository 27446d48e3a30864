// One proxy as its admin console shows it. The connection is kept between samples and made anew when it was lost.
import { Client } from 'pg'
import type { AdminLogin, ProxyAddress } from '../admin-client.ts'
import { proxyName } from '../proxies.ts'

/** A row of a SHOW command, by column. */
export type ShownRow = Readonly<Record<string, string | null>>

/** What one proxy answered; `error` says why it did not, and the rest is empty then. */
export type ProxySample = {
  readonly proxy: string
  readonly error: string | null
  readonly databases: readonly ShownRow[]
  readonly pools: readonly ShownRow[]
  readonly shards: readonly ShownRow[]
  readonly replicas: readonly ShownRow[]
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
      this.#client ??= await this.#connect()
      const show = async (what: string) =>
        (await this.#client?.query<ShownRow>(`SHOW ${what}`))?.rows ?? []
      const databases = await show('DATABASES')
      const pools = await show('POOLS')
      const shards = await show('SHARDS')
      const replicas = await show('REPLICAS')
      return { proxy, error: null, databases, pools, shards, replicas }
    } catch (thrown) {
      const error = reasonOf(thrown)
      await this.close()
      return { proxy, error, databases: [], pools: [], shards: [], replicas: [] }
    }
  }

  async close(): Promise<void> {
    const client = this.#client
    this.#client = null
    await client?.end().catch(() => undefined)
  }

  async #connect(): Promise<Client> {
    const client = new Client({
      ...this.#address,
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

/** Node puts the attempts at several addresses into an AggregateError without a message. */
function reasonOf(thrown: unknown): string {
  const errors: readonly unknown[] = thrown instanceof AggregateError ? thrown.errors : [thrown]
  return errors.map((error) => (error instanceof Error ? error.message : String(error))).join('; ')
}
