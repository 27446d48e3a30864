// The catalog's list of proxies, as catalog/proxy-registry.ts keeps it.
import { epoch, type Epoch } from '../../core/ids.ts'
import { type RegisteredProxy, silentMs } from '../../catalog/proxy-registry.ts'
import type { Environment } from './environment.ts'

type Entry = { incarnation: string; epochSeen: Epoch; heartbeatMs: number }

export class ProxyList {
  readonly #environment: Environment
  readonly #entries = new Map<string, Entry>()

  constructor(environment: Environment) {
    this.#environment = environment
  }

  /** Name that it goes by: its own as long as nobody else of that name is alive. */
  register(id: string, incarnation: string): string {
    const known = this.#entries.get(id)
    const free = known === undefined || known.incarnation === incarnation || this.#isSilent(known)
    const name = free ? id : `${id}/${incarnation}`
    const heartbeatMs = this.#environment.scheduler.nowMs
    this.#entries.set(name, { incarnation, epochSeen: epoch(0), heartbeatMs })
    return name
  }

  /** False when it is not on the list any more. */
  beat(id: string, name: string, incarnation: string, seen: Epoch): boolean {
    const entry = this.#entries.get(name)
    if (entry?.incarnation !== incarnation) return false
    entry.epochSeen = seen
    entry.heartbeatMs = this.#environment.scheduler.nowMs
    const former = this.#entries.get(id)
    if (former !== undefined && former.incarnation !== incarnation && this.#isSilent(former)) {
      this.#entries.delete(id)
    }
    return true
  }

  list(): readonly RegisteredProxy[] {
    const now = this.#environment.scheduler.nowMs
    return [...this.#entries].map(([id, { epochSeen, heartbeatMs }]) => {
      return { id, address: id, version: '', epochSeen, silentMs: now - heartbeatMs }
    })
  }

  #isSilent({ heartbeatMs }: Entry): boolean {
    return this.#environment.scheduler.nowMs - heartbeatMs > silentMs
  }
}
