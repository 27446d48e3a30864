// The program of one worker process: a proxy with its share of what the file allows. Its supervisor tells it who it is,
// what to do and when to end; it does not outlive the supervisor, and leaves signals to it.
import { z } from 'zod'
import type { Config } from '../../config/config.ts'
import { createAdjustableLog } from '../../core/log.ts'
import { Proxy, type ProxyOptions } from '../../proxy/proxy.ts'
import { proxyOptions } from '../proxy-options.ts'
import { ConfigReload, versionOf } from '../reload.ts'
import { programVersion } from '../version.ts'
import { Channel, type Offered } from './channel.ts'
import {
  cancelKey,
  deadlines,
  namedCall,
  newText,
  type WorkerStart,
  workerStart,
} from './messages.ts'
import { shareOf } from './shares.ts'
import { WorkerFleet } from './worker-fleet.ts'

/** A worker at work. */
class Worker {
  readonly #proxy: Proxy
  readonly #fleet: WorkerFleet
  readonly #reload: ConfigReload

  private constructor(proxy: Proxy, fleet: WorkerFleet, reload: ConfigReload) {
    this.#proxy = proxy
    this.#fleet = fleet
    this.#reload = reload
  }

  static async start(start: WorkerStart, supervisor: Channel): Promise<Worker> {
    const { file, text, worker, count, slot, tcp, unix, port, secret, standing } = start
    const version = versionOf(file, text)
    const { log, setLevel } = createAdjustableLog(version.config.log.level, { worker })
    const fleet = new WorkerFleet(worker, count, supervisor)
    const optionsOf = (config: Config): ProxyOptions => {
      const options = proxyOptions(
        shareOf(config, { index: worker - 1, count }),
        programVersion(),
        log,
      )
      return {
        ...options,
        listen: { ...options.listen, inherited: { tcp, unix, port } },
        http: null,
        tokenKey: options.tokenKey ?? secret,
        fleet,
        slot,
        settings: () => reload.shown(),
        set: (key, value) => reload.set(key, value),
      }
    }
    const proxy = await Proxy.start(optionsOf(version.config))
    const reload = new ConfigReload(version, async (config) => {
      await proxy.configure(optionsOf(config))
      setLevel(config.log.level)
    })
    for (const { name, args } of standing) {
      // PAUSE ends once every connection is back: nobody waits for that here.
      fleet.run(name, args).catch((error: unknown) => {
        log.warn({ command: name, args, error }, 'what stands for all workers was not taken over')
      })
    }
    return new Worker(proxy, fleet, reload)
  }

  /** What the supervisor may call. */
  get offered(): Offered {
    const proxy = this.#proxy
    return {
      snapshot: async (given) => {
        const { name, args } = namedCall.parse(given)
        return await this.#fleet.snapshot(name, args)
      },
      run: async (given) => {
        const { name, args } = namedCall.parse(given)
        return await this.#fleet.run(name, args)
      },
      cancel: async (given) => {
        const { pid, secret } = cancelKey.parse(given)
        await proxy.sessions.cancel(pid, Buffer.from(secret, 'hex'))
      },
      reload: (given) => this.#reload.run(newText.parse(given).text),
      metrics: () => proxy.counters(),
      notReady: async () => proxy.notReady,
      retire: async (given) => {
        const { deadlineMs, drainMs } = deadlines.parse(given)
        await this.#end(proxy.retire(deadlineMs, drainMs))
      },
      drain: async (given) => this.#end(proxy.drain(deadlines.parse(given).drainMs)),
      close: async () => this.#end(proxy.close()),
    }
  }

  async #end(ending: Promise<void>): Promise<void> {
    await ending
    // The answer goes out first.
    setImmediate(() => process.exit())
  }
}

let worker: Promise<Worker> | null = null

async function offer(method: string, given: unknown): Promise<unknown> {
  if (worker === null) throw new Error('the worker has not been started')
  const { offered } = await worker
  return await offered[method]?.(given)
}

const methods = [
  'snapshot',
  'run',
  'cancel',
  'reload',
  'metrics',
  'notReady',
  'retire',
  'drain',
  'close',
]
const supervisor: Channel = new Channel((message) => process.send?.(message), {
  start: async (given) => {
    worker = Worker.start(workerStart.parse(given), supervisor)
    await worker
  },
  ...Object.fromEntries(
    methods.map((method) => [method, (given: unknown) => offer(method, given)]),
  ),
})

process.on('message', (message) => supervisor.received(z.unknown().parse(message)))
process.on('disconnect', () => process.exit(1))
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR2'] as const) {
  process.on(signal, () => undefined)
}
