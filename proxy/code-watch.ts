// What is known of a database's code that may touch sessions (catalog/session-code.ts). It is asked for behind the reply
// of a statement that ran while nothing was known, on that client's own server: this costs no login and no wait.
import type { Ask } from '../catalog/schema-loader.ts'
import { loadSessionCode } from '../catalog/session-code.ts'
import type { Clock } from '../core/clock.ts'
import type { SessionCode } from '../router/traces.ts'

// DDL that did not come through this proxy is noticed within that time.
const ageMsMax = 60_000

/** Only these can bring code into a database that has none of the kind. */
const definesCode = /\b(?:function|procedure|extension|language|operator|cast|trigger|do)\b/i

export class CodeWatch {
  readonly #clock: Clock
  #code: SessionCode | null = null
  #loadedAtMs = Number.NEGATIVE_INFINITY
  #generation = 0
  #loading = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Null when nothing is known, or what was known may be out of date. */
  get known(): SessionCode | null {
    if (this.#code === null) return null
    const isOld = this.#clock.nowMs() - this.#loadedAtMs > ageMsMax
    return isOld && !this.#loading ? null : this.#code
  }

  /** A definition has run here; '' stands for any. */
  defined(sql: string): void {
    const code = this.#code
    if (code === null) {
      this.#generation += 1
      return
    }
    const none = code.functions.size === 0 && !code.anywhere && !code.inDdl
    if (none && sql !== '' && !definesCode.test(sql)) return
    this.#generation += 1
    this.#code = null
  }

  /** Asks a server, unless it is being asked. @throws what `ask` throws */
  async learn(ask: Ask): Promise<void> {
    if (this.known !== null || this.#loading) return
    const generation = this.#generation
    const startMs = this.#clock.nowMs()
    this.#loading = true
    try {
      const code = await loadSessionCode(ask)
      if (generation !== this.#generation) return
      this.#code = code
      this.#loadedAtMs = startMs
    } finally {
      this.#loading = false
    }
  }
}
