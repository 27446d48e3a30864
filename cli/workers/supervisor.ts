// `ringfence serve` with several workers: this process binds the sockets, starts the workers and keeps them running,
// answers the HTTP port for all of them, and passes between them what concerns more than one. It serves no client itself.
import { randomBytes } from 'node:crypto'
import { closeSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Config } from '../../config/config.ts'
import { pgError } from '../../core/errors.ts'
import { wantedSetting } from '../../proxy/admin/actions.ts'
import { type HttpPort, startHttp } from '../../proxy/http.ts'
import { slotCount, slotOf } from '../../proxy/sessions.ts'
import { bindUnixSocket, adoptUnixSocket, type UnixSocket } from '../../proxy/unix-socket.ts'
import { proxyOptions } from '../proxy-options.ts'
import { ConfigReload, type Version } from '../reload.ts'
import type { Ending, Service, Surroundings } from '../service.ts'
import { programVersion } from '../version.ts'
import type { Offered } from './channel.ts'
import { addUp, contentType } from './counters.ts'
import { Crew } from './crew.ts'
import { type Estate, freeSlots } from './estate.ts'
import { cancelKey, cells, namedCall, sentences } from './messages.ts'
import { workerCount } from './shares.ts'
import { bindPath, bindShared, type SharedSockets } from './sockets.ts'
import {
  afterFailure,
  afterOrder,
  bequeathed,
  isOfDatabases,
  type Order,
} from './standing-orders.ts'

const snapshotMs = 2_000
const entry = besideThis(new URL('./worker.ts', import.meta.url))

/** A supervisor and its workers. @throws CommandFailure, PgError or the system's error: why they do not serve */
export async function startSupervisor(version: Version, around: Surroundings): Promise<Service> {
  const supervisor = await Supervisor.prepare(version, around)
  try {
    await supervisor.start()
    return supervisor
  } catch (error) {
    supervisor.kill()
    throw error
  }
}

class Supervisor implements Service {
  readonly workers: number
  readonly #around: Surroundings
  readonly #crew: Crew
  readonly #slots: readonly number[]
  readonly #sockets: SharedSockets
  readonly #reload: ConfigReload
  #unixName: UnixSocket | null
  #config: Config
  #text: string
  #standing: readonly Order[]
  #http: HttpPort | null = null
  #stopping = false
  #left = false

  private constructor(
    version: Version,
    around: Surroundings,
    { sockets, unixName }: { sockets: SharedSockets; unixName: UnixSocket | null },
  ) {
    const { config, file, text } = version
    this.#around = around
    this.#config = config
    this.#text = text
    this.#standing = around.inherited?.standing ?? []
    this.#sockets = sockets
    this.#unixName = unixName
    this.workers = workerCount(config)
    this.#slots = freeSlots(around.inherited?.slots ?? [], this.workers, slotCount)
    const secret = randomBytes(32).toString('base64')
    this.#reload = new ConfigReload(version, (next, nextText) => this.#apply(next, nextText))
    this.#crew = new Crew({
      count: this.workers,
      slots: this.#slots,
      entry,
      tcp: sockets.tcp,
      unix: sockets.unix,
      told: () => ({
        file,
        text: this.#text,
        port: sockets.port,
        secret,
        standing: this.#standing.map(({ name, args }) => ({ name, args: [...args] })),
      }),
      offered: () => this.#offered,
      log: around.log,
    })
  }

  static async prepare(version: Version, around: Surroundings): Promise<Supervisor> {
    const { listen } = proxyOptions(version.config, programVersion(), around.log)
    const { inherited } = around
    if (inherited !== null) {
      const sockets = { ...inherited, close: () => inherited.tcp.forEach((fd) => closeSync(fd)) }
      return new Supervisor(version, around, { sockets, unixName: null })
    }
    const count = workerCount(version.config)
    const tcp = await bindShared({ hosts: [listen.host].flat(), port: listen.port }, count)
    let unix: number | null = null
    const unixName =
      (listen.unixSocket ?? null) === null
        ? null
        : await bindUnixSocket(
            listen.unixSocket ?? { dir: '', mode: 0 },
            tcp.port,
            async (path) => {
              unix = bindPath(path)
            },
          )
    return new Supervisor(version, around, { sockets: { ...tcp, unix }, unixName })
  }

  async start(): Promise<void> {
    await this.#crew.start()
    const { http } = this.#config
    this.#http = await startHttp({
      ...http,
      inherited: this.#around.inherited?.http ?? null,
      contentType,
      metrics: (which) => this.#metrics(which),
      notReady: () => this.notReady(),
    })
  }

  get port(): number {
    return this.#sockets.port
  }

  get httpPort(): number | null {
    return this.#http?.port ?? null
  }

  get estate(): Estate {
    const { tcp, port, unix } = this.#sockets
    return {
      tcp,
      port,
      unix,
      http: this.#http?.descriptor ?? null,
      slots: [...this.#slots, ...this.#around.formerSlots()],
      standing: bequeathed(this.#standing),
    }
  }

  adopt(): void {
    const { listen } = proxyOptions(this.#config, programVersion(), this.#around.log)
    const { unixSocket = null } = listen
    if (unixSocket === null || this.#sockets.unix === null || this.#unixName !== null) return
    this.#unixName = adoptUnixSocket(unixSocket, this.#sockets.port)
  }

  async notReady(): Promise<readonly string[]> {
    if (this.#stopping) return ['shutting down']
    const answers = await this.#crew.ask('notReady', {}, snapshotMs)
    const reasons = answers.flatMap(({ worker, value }) => {
      return sentences.parse(value).map((reason) => `worker ${worker}: ${reason}`)
    })
    const missing = this.workers - answers.length
    return missing === 0
      ? reasons
      : [...reasons, `${missing} of ${this.workers} workers are missing`]
  }

  reload(): Promise<readonly string[]> {
    return this.#reload.run()
  }

  /** Each worker looks at the same text and comes to the same conclusions. */
  async #apply(config: Config, text: string): Promise<void> {
    const before = { config: this.#config, text: this.#text }
    this.#text = text
    try {
      await this.#crew.tell('reload', { text })
    } catch (error) {
      this.#text = before.text
      throw error
    }
    this.#config = config
    this.#standing = afterOrder(this.#standing, { name: 'admin reload', args: [] })
    this.#around.setLevel(config.log.level)
    this.#around.configured(config)
  }

  async cancel(pid: number, secret: string): Promise<void> {
    await this.#crew.callSlot(slotOf(pid), 'cancel', { pid, secret })
  }

  order(order: Order): Promise<readonly string[]> {
    return this.#everywhere(order)
  }

  async retire(deadlineMs: number, drainMs: number): Promise<void> {
    this.#leave()
    await this.#http?.close()
    await this.#crew.end('retire', { deadlineMs, drainMs }, deadlineMs + drainMs)
  }

  async drain(drainMs: number): Promise<void> {
    this.#stopping = true
    this.#leave()
    await this.#crew.end('drain', { deadlineMs: 0, drainMs }, drainMs)
    await this.#http?.close()
  }

  async close(): Promise<void> {
    this.#stopping = true
    this.#leave()
    await this.#crew.end('close', {}, 0)
    await this.#http?.close()
  }

  kill(): void {
    this.#crew.kill()
    this.#leave()
  }

  /** The sockets go, unless another process has them, too. May be called again. */
  #leave(): void {
    this.#unixName?.close()
    this.#unixName = null
    if (!this.#left) this.#sockets.close()
    this.#left = true
  }

  get #offered(): Offered {
    return {
      snapshots: async (given) => {
        const answers = await this.#crew.ask('snapshot', namedCall.parse(given), snapshotMs)
        return answers.map(({ worker, value }) => ({ worker, rows: cells.parse(value) }))
      },
      everywhere: (given) => this.#everywhere(namedCall.parse(given)),
      cancel: async (given) => {
        const { pid, secret } = cancelKey.parse(given)
        if (this.#slots.includes(slotOf(pid))) await this.cancel(pid, secret)
        else await this.#around.cancelElsewhere(pid, secret)
      },
    }
  }

  /** What concerns the processes is done here, everything else by each worker. */
  async #everywhere(order: Order): Promise<readonly string[]> {
    const { name, args } = order
    if (name === 'admin reload') return await this.#explained(() => this.#around.reload())
    if (name === 'admin upgrade') return await this.#around.upgrade()
    if (name === 'admin shutdown') return await this.#shutdown(args)
    const wanted = name === 'admin set' ? wantedSetting(args) : null
    // Some of what is set is this process's own to heed.
    if (wanted?.ignored === false) return await this.#reload.set(wanted.key, wanted.value)
    const before = this.#standing
    // A worker that starts meanwhile begins with it.
    this.#standing = afterOrder(before, order)
    try {
      const former = isOfDatabases(order) ? this.#around.formerly(order) : undefined
      const answers = await this.#crew.tell('run', order)
      await former
      return [...new Set(answers.flatMap(({ value }) => sentences.parse(value)))]
    } catch (error) {
      this.#standing = afterFailure(this.#standing, before, order)
      throw error
    }
  }

  async #explained(reload: () => Promise<readonly string[]>): Promise<readonly string[]> {
    try {
      return await reload()
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw pgError('reloadRefused', [reason], { cause })
    }
  }

  async #shutdown([word = 'now']: readonly string[]): Promise<readonly string[]> {
    const endings = new Map<string, Ending>([
      ['now', 'now'],
      ['wait_for_servers', 'servers'],
      ['wait_for_clients', 'clients'],
    ])
    const ending = endings.get(word.toLowerCase())
    if (ending === undefined) throw pgError('adminCommandUnknown', [`SHUTDOWN ${word}`])
    // The answer goes out first.
    setImmediate(() => void this.#around.shutdown(ending))
    return []
  }

  async #metrics(which: 'sum' | 'each'): Promise<string> {
    const answers = await this.#crew.ask('metrics', {}, snapshotMs)
    return await addUp(answers, which)
  }
}

/** With this file's own extension: a package has JavaScript. */
function besideThis(url: URL): string {
  return fileURLToPath(url).replace(
    /\.ts$/,
    import.meta.url.slice(import.meta.url.lastIndexOf('.')),
  )
}
