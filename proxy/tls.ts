// TLS on both sides of a proxy, and its files: they are read again by a reload, and when they change on the disk. What is
// wrong with new ones is told; the old ones stay in force then.
import { stat } from 'node:fs/promises'
import type { Log } from '../core/log.ts'
import { ServerTls, type ServerTlsOptions } from '../pool/server-tls.ts'
import { ClientTls, type ClientTlsOptions } from './client-tls.ts'

export type TlsOptions = { readonly client: ClientTlsOptions; readonly server: ServerTlsOptions }

/** How often the files are looked at. A name that leads elsewhere now, as Kubernetes has it, is a change, too. */
const watchIntervalMs = 5_000

const noTls: ClientTlsOptions & ServerTlsOptions = {
  mode: 'disable',
  cert: null,
  key: null,
  ca: null,
  protocols: 'secure',
  ciphers: null,
}

export class Tls {
  readonly client: ClientTls
  readonly server: ServerTls
  readonly #log: Log
  readonly #watcher: NodeJS.Timeout
  #seen: string | null = null
  #looking = false

  /** `options` absent: no TLS. @throws Error naming the setting and what is wrong with its file */
  constructor(options: TlsOptions | undefined, log: Log) {
    const { client, server } = options ?? { client: noTls, server: noTls }
    this.#log = log
    this.client = new ClientTls(client, (error) => log.debug({ error }, 'TLS handshake failed'))
    this.server = new ServerTls(server)
    this.#watcher = setInterval(() => void this.look(), watchIntervalMs)
    this.#watcher.unref()
    void this.look()
  }

  /** Reads the files; what it gives makes further connections go by these. @throws Error as the constructor does */
  prepare({ client, server }: TlsOptions = { client: noTls, server: noTls }): () => void {
    const adoptClient = this.client.prepare(client)
    const adoptServer = this.server.prepare(server)
    return () => {
      adoptClient()
      adoptServer()
    }
  }

  /** Reads the files again if they have changed since the last look. Never rejects. */
  async look(): Promise<void> {
    if (this.#looking) return
    this.#looking = true
    try {
      const files = [...this.client.files, ...this.server.files]
      const state = (await Promise.all(files.map(stateOf))).join('\n')
      const changed = this.#seen !== null && this.#seen !== state
      this.#seen = state
      if (changed) this.#readAgain(files)
    } finally {
      this.#looking = false
    }
  }

  close(): void {
    clearInterval(this.#watcher)
  }

  #readAgain(files: readonly string[]): void {
    try {
      this.prepare({ client: this.client.options, server: this.server.options })()
      this.#log.info({ files }, 'certificates were read again')
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      this.#log.error({ reason }, 'new certificates cannot be used, the old ones stay in force')
    }
  }
}

async function stateOf(file: string): Promise<string> {
  const found = await stat(file).catch(() => null)
  return found === null ? `${file} -` : `${file} ${found.ino} ${found.size} ${found.mtimeMs}`
}
