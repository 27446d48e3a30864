// `ringfence serve` in one process.
import type { Config } from '../config/config.ts'
import { Proxy, type ProxyOptions } from '../proxy/proxy.ts'
import { slotCount } from '../proxy/sessions.ts'
import { proxyOptions } from './proxy-options.ts'
import { ConfigReload, type Version } from './reload.ts'
import type { Service, Surroundings } from './service.ts'
import { programVersion } from './version.ts'
import { LocalFleet } from './workers/local-fleet.ts'
import { freeSlots, type Estate } from './workers/estate.ts'
import { bequeathed, type Order } from './workers/standing-orders.ts'

/** The proxy, in this process. @throws PgError 57P03, or the system's error */
export async function startAlone(version: Version, around: Surroundings): Promise<Service> {
  const { config } = version
  const { inherited } = around
  const { log, setLevel } = around
  const [slot = 0] = freeSlots(inherited?.slots ?? [], 1, slotCount)
  const reload = new ConfigReload(version, async (next) => {
    await proxy.configure(optionsOf(next))
    setLevel(next.log.level)
    around.configured(next)
  })
  const fleet = new LocalFleet({ cancel: around.cancelElsewhere, formerly: around.formerly })
  const optionsOf = (wanted: Config): ProxyOptions => {
    const options = proxyOptions(wanted, programVersion(), log)
    return {
      ...options,
      listen: { ...options.listen, inherited },
      http: options.http === null ? null : { ...options.http, inherited: inherited?.http ?? null },
      fleet,
      slot,
      reload: () => around.reload(),
      settings: () => reload.shown(),
      set: (key, value) => reload.set(key, value),
      upgrade: () => around.upgrade(),
      shutdown: (ending) => around.shutdown(ending),
    }
  }
  const proxy = await Proxy.start(optionsOf(config))
  for (const { name, args } of inherited?.standing ?? []) {
    // PAUSE ends once every connection is back: nobody waits for that here.
    fleet.everywhere(name, args).catch((error: unknown) => {
      log.warn(
        { command: name, args, error },
        'what the process before had in force was not taken over',
      )
    })
  }
  const left = () => ({
    slots: [slot, ...around.formerSlots()],
    standing: bequeathed(fleet.standing),
  })
  return new Alone(proxy, { fleet, reload, left })
}

type Belongings = {
  readonly fleet: LocalFleet
  readonly reload: ConfigReload
  /** What a next process is told of besides sockets. */
  readonly left: () => Pick<Estate, 'slots' | 'standing'>
}

class Alone implements Service {
  readonly workers = 1
  readonly #proxy: Proxy
  readonly #around: Belongings

  constructor(proxy: Proxy, around: Belongings) {
    this.#proxy = proxy
    this.#around = around
  }

  get port(): number {
    return this.#proxy.port
  }

  get httpPort(): number | null {
    return this.#proxy.httpPort
  }

  get estate(): Estate {
    return { ...this.#proxy.descriptors, port: this.port, ...this.#around.left() }
  }

  adopt(): void {
    this.#proxy.adoptSockets()
  }

  async notReady(): Promise<readonly string[]> {
    return this.#proxy.notReady
  }

  reload(): Promise<readonly string[]> {
    return this.#around.reload.run()
  }

  cancel(pid: number, secret: string): Promise<void> {
    return this.#proxy.sessions.cancel(pid, Buffer.from(secret, 'hex'))
  }

  order({ name, args }: Order): Promise<readonly string[]> {
    return this.#around.fleet.everywhere(name, args)
  }

  retire(deadlineMs: number, drainMs: number): Promise<void> {
    return this.#proxy.retire(deadlineMs, drainMs)
  }

  drain(deadlineMs: number): Promise<void> {
    return this.#proxy.drain(deadlineMs)
  }

  close(): Promise<void> {
    return this.#proxy.close()
  }
}
