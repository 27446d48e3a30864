// `ringfence serve`: the proxy in the foreground until SIGTERM or SIGINT, in one process or in several (service.ts).
// SIGHUP reads the file again, SIGUSR2 has a new process take over: this one goes on for the clients that it has.
import { readFileSync, unlinkSync, unwatchFile, watchFile, writeFileSync } from 'node:fs'
import type { Config } from '../config/config.ts'
import { createAdjustableLog, type Log } from '../core/log.ts'
import { CommandFailure, readConfig } from './load-config.ts'
import { readVersion, type Version } from './reload.ts'
import { type End, Ends } from './ends.ts'
import type { Service, Surroundings } from './service.ts'
import { inherited } from './workers/estate.ts'
import { type Kin, Predecessor, Successor } from './workers/generations.ts'
import type { Order } from './workers/standing-orders.ts'
import { workerCount } from './workers/shares.ts'

// Transactions may end, but not for ever: a supervisor's own patience is usually 30 s.
const drainMs = 25_000
const watchMs = 1_000
/** Until a process that has just been started must be ready to serve. */
const readyMs = 30_000
const readyLookMs = 50
const awakeMs = 60_000
/** As long as a timer can be: SHUTDOWN WAIT_FOR_CLIENTS has no deadline. */
const clientsMsMax = 2 ** 31 - 1

/** Serves until a signal; a second signal stops at once. Resolves with the exit code. */
export async function serve(configFile: string): Promise<number> {
  const estate = inherited(process.env)
  const serving = new Serving(estate === null ? null : (kin) => new Predecessor(kin))
  try {
    await readConfig(configFile)
    return await serving.run(await readVersion(configFile), estate)
  } catch (error) {
    await serving.failed(error).catch(() => undefined)
    throw error
  }
}

class Serving {
  readonly #predecessor: Predecessor | null
  #successor: Successor | null = null
  #upgrading = false
  #service: Service | null = null
  #config: Config | null = null
  #log: Log | null = null
  readonly #ends = new Ends()

  constructor(predecessor: ((kin: Kin) => Predecessor) | null) {
    const cancel = async (pid: number, secret: string) => {
      await Promise.all([this.#service?.cancel(pid, secret), this.#successor?.cancel(pid, secret)])
    }
    this.#predecessor = predecessor === null ? null : predecessor({ cancel, order: refuseOrder })
  }

  async failed(error: unknown): Promise<void> {
    await this.#predecessor?.failed(error)
  }

  async run(version: Version, estate: Surroundings['inherited']): Promise<number> {
    const { config, file } = version
    const adjustable = createAdjustableLog(config.log.level)
    const { log } = adjustable
    this.#log = log
    this.#config = config
    // A signal that nobody has asked for would end the process, however early it comes.
    let reloads = 0
    process.on('SIGHUP', () => {
      reloads += 1
      if (this.#service !== null) void this.#reload().catch(() => undefined)
    })
    process.on('SIGUSR2', () => void this.#upgrade().catch(() => undefined))
    const service = await startService(version, {
      ...adjustable,
      inherited: estate,
      formerSlots: () => (this.#predecessor?.isThere === true ? (estate?.slots ?? []) : []),
      cancelElsewhere: (pid, secret) => this.#cancelElsewhere(pid, secret),
      formerly: (order) => this.#formerly(order),
      configured: (next) => this.#configured(next, file),
      reload: () => this.#reload(),
      upgrade: () => this.#upgrade(),
      shutdown: async (ending) => this.#ends.tell(ending),
    })
    this.#service = service
    if (reloads > 0) void this.#reload().catch(() => undefined)
    if (this.#predecessor !== null) await this.#takeOver(service)
    const autos = await startAutos(config, log)
    if (config.pidFile !== null) writeFileSync(config.pidFile, `${process.pid}\n`)
    this.#configured(config, file)
    const { port, httpPort: http, workers } = service
    log.info({ port, http, ...(workers > 1 ? { workers } : {}) }, 'ready')
    void untilStopped((signal) => log.info({ signal }, 'draining: no new logins')).then(() => {
      this.#ends.tell('servers')
    })
    const end = await this.#ends.first
    unwatchFile(file)
    await autos?.close()
    await this.#stop(service, end)
    removePidFile(config.pidFile)
    log.info('stopped')
    return 0
  }

  /** The process before this one goes on with its clients once this one says that it serves. */
  async #takeOver(service: Service): Promise<void> {
    const untilMs = performance.now() + readyMs
    for (;;) {
      const reasons = await service.notReady()
      if (reasons.length === 0) break
      if (performance.now() > untilMs) throw new CommandFailure(reasons.join('; '))
      await new Promise((resolve) => setTimeout(resolve, readyLookMs))
    }
    service.adopt()
    await this.#predecessor?.serving()
  }

  /** A signal, or one more of them, or a later SHUTDOWN, has what would take its time end earlier. */
  async #stop(service: Service, end: End): Promise<void> {
    const { soon, now } = this.#ends
    const drain = () => {
      const again = untilStopped(() => this.#log?.warn('stopping at once'))
      const atOnce = Promise.race([again, now])
      return Promise.race([service.drain(drainMs), atOnce.then(() => service.close())])
    }
    const retire = (ms: number) => Promise.race([service.retire(ms, drainMs), soon.then(drain)])
    if (end === 'replaced') {
      this.#log?.info('another process has taken over: going on with the clients that are here')
      await retire(this.#config?.drainTimeoutMs ?? 0)
      // Cancel requests for its clients come through this process.
      await Promise.race([this.#predecessor?.ended, soon])
      this.#successor?.release()
    } else if (end === 'now') await service.close()
    else if (end === 'servers') await drain()
    else await retire(clientsMsMax)
  }

  /** @throws what is wrong with the file; the log has it already */
  async #reload(): Promise<readonly string[]> {
    try {
      const said = (await this.#service?.reload()) ?? []
      this.#log?.info({ said }, 'configuration reloaded')
      return said
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      const what = 'the configuration cannot be reloaded; the old one stays in force'
      this.#log?.error({ reason }, what)
      throw error
    }
  }

  /** Resolves when the new process serves. @throws CommandFailure why it does not; then this one goes on as before */
  async #upgrade(): Promise<readonly string[]> {
    const service = this.#service
    const log = this.#log
    if (service === null || log === null) throw new CommandFailure('the proxy is just starting')
    if (this.#upgrading) throw new CommandFailure('an upgrade is under way already')
    this.#upgrading = true
    try {
      const cancel = async (pid: number, secret: string) => {
        await Promise.all([service.cancel(pid, secret), this.#predecessor?.cancel(pid, secret)])
      }
      const order = (given: Order) => service.order(given)
      this.#successor = await Successor.start(service.estate, { cancel, order }, log)
      this.#ends.tell('replaced')
      return [`process ${this.#successor.pid} serves now`]
    } catch (error) {
      this.#upgrading = false
      const reason = error instanceof Error ? error.message : String(error)
      log.error({ reason }, 'upgrade: this process goes on')
      throw error
    }
  }

  /** The process before this one hands it on to the one before that. */
  async #formerly(order: Order): Promise<void> {
    try {
      await this.#predecessor?.order(order)
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      this.#log?.warn({ ...order, reason }, 'the process before this one has not done it')
    }
  }

  async #cancelElsewhere(pid: number, secret: string): Promise<void> {
    await Promise.all([
      this.#predecessor?.cancel(pid, secret),
      this.#successor?.cancel(pid, secret),
    ])
  }

  #configured(config: Config, file: string): void {
    this.#config = config
    unwatchFile(file)
    if (!config.watch) return
    // Looked at rather than listened for: editors and Kubernetes put another file in its place.
    watchFile(file, { interval: watchMs, persistent: false }, (now, before) => {
      if (now.mtimeMs === before.mtimeMs && now.ino === before.ino) return
      void this.#reload().catch(() => undefined)
    })
  }
}

/** What only a supervisor needs is not loaded by a single process, and the other way round. */
async function startService(version: Version, around: Surroundings): Promise<Service> {
  // Nothing else may keep the process alive yet while it waits for a server that is down.
  const awake = setInterval(() => undefined, awakeMs)
  try {
    if (workerCount(version.config) === 1) {
      const { startAlone } = await import('./alone.ts')
      return await startAlone(version, around)
    }
    const { startSupervisor } = await import('./workers/supervisor.ts')
    return await startSupervisor(version, around)
  } finally {
    clearInterval(awake)
  }
}

/** The mover is loaded only where somebody wants it. */
async function startAutos(config: Config, log: Log): Promise<{ close(): Promise<void> } | null> {
  if (!config.databases.some(({ sharding, rebalance }) => sharding !== null && rebalance.auto)) {
    return null
  }
  const { startAutos: start } = await import('./auto.ts')
  return start(config, log)
}

/** Orders go to older processes, never back. */
async function refuseOrder(): Promise<void> {}

/** Unless another process has written its own number there. */
function removePidFile(file: string | null): void {
  if (file === null) return
  try {
    if (readFileSync(file, 'utf8').trim() === String(process.pid)) unlinkSync(file)
  } catch {
    // Somebody has removed it before.
  }
}

/** Resolves at the first SIGTERM or SIGINT. */
export function untilStopped(heard: (signal: string) => void): Promise<void> {
  return new Promise((resolve) => {
    const stop = (signal: string) => {
      process.off('SIGTERM', stop)
      process.off('SIGINT', stop)
      heard(signal)
      resolve()
    }
    process.on('SIGTERM', stop)
    process.on('SIGINT', stop)
  })
}
