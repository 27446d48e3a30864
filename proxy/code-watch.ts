// What is known of a database's code that may touch sessions (catalog/session-code.ts). It is asked for behind the reply
// of a statement that ran while nothing was known, on that client's own server: this costs no login and no wait.
import type { Ask } from '../catalog/schema-loader.ts'
import { loadSessionCode } from '../catalog/session-code.ts'
import type { Clock } from '../core/clock.ts'
import type { SessionCode } from '../router/traces.ts'
import { SequenceMemory } from './sequence-memory.ts'

// DDL that did not come through this proxy is noticed within that time.
const ageMsMax = 60_000

/** Only these can bring code into a database that has none of the kind. */
const definesCode =
  /\b(?:function|procedure|extension|language|operator|cast|trigger|do)\b|set_config|setseed|advisory_lock|_to_xml/i

/** Nor do these change what is known to need a look; temporary things keep their server anyway. */
const bringsNone = /^\s*(?:drop|truncate|comment|grant|revoke|create\s+temp(?:orary)?\s+table)\b/i

export class CodeWatch {
  /** Who remembers which numbers of sequences. */
  readonly sequences = new SequenceMemory()
  readonly #clock: Clock
  #code: SessionCode | null = null
  #loadedAtMs = Number.NEGATIVE_INFINITY
  #generation = 0
  #loading: Promise<SessionCode> | null = null

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Null when nothing is known, or what was known may be out of date. */
  get known(): SessionCode | null {
    if (this.#code === null) return null
    const isOld = this.#clock.nowMs() - this.#loadedAtMs > ageMsMax
    return isOld && this.#loading === null ? null : this.#code
  }

  /** A definition has run here; '' stands for any. */
  defined(sql: string): void {
    const code = this.#code
    if (code === null) {
      this.#generation += 1
      return
    }
    if (bringsNone.test(sql)) return
    const none = code.functions.size === 0 && !code.anywhere && !code.inDdl
    if (none && sql !== '' && !definesCode.test(sql)) return
    this.#generation += 1
    this.#code = null
  }

  /** What is known, or what a server says now; one is asked at a time. @throws what `ask` throws */
  async learn(ask: Ask): Promise<SessionCode> {
    for (;;) {
      const known = this.known
      if (known !== null) return known
      const loading = this.#loading
      if (loading === null) return await this.#load(ask)
      // Its server may have died, or the code have changed meanwhile.
      await loading.catch(() => undefined)
    }
  }

  async #load(ask: Ask): Promise<SessionCode> {
    const generation = this.#generation
    const startMs = this.#clock.nowMs()
    this.#loading = loadSessionCode(ask)
    try {
      const code = await this.#loading
      if (generation === this.#generation) {
        this.#code = code
        this.#loadedAtMs = startMs
      }
      return code
    } finally {
      this.#loading = null
    }
  }
}
