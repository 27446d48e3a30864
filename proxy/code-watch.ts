// What is known of a database's code that may touch sessions (catalog/session-code.ts). It is asked for behind the reply
// of a statement that ran while nothing was known, on that client's own server: this costs no login and no wait.
import type { Ask } from '../catalog/schema-loader.ts'
import { loadSessionCode } from '../catalog/session-code.ts'
import type { Clock } from '../core/clock.ts'
import type { SessionCode } from '../router/traces.ts'
import { SequenceMemory } from './sequence-memory.ts'

// DDL that did not come through this proxy is noticed within that time.
const ageMsMax = 60_000

/** Only these bring code of their own; what others bring runs code that is known, and names it. */
const definesCode =
  /\b(?:function|procedure|extension|language|operator|cast|trigger|do)\b|set_config|setseed|advisory_lock|_to_xml/i

/** Names in such quotes are not written as the catalogs have them. */
const escapedNames = /\bu&"/i

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

  /** A definition has run here; '' stands for any. False when what is known holds all the same. */
  defined(sql: string): boolean {
    const code = this.#code
    if (code !== null && sql !== '') {
      if (bringsNone.test(sql)) return false
      if (!definesCode.test(sql) && !names(sql, code)) return false
    }
    this.#generation += 1
    this.#code = null
    return true
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

/** True when `sql` may be about something that runs such code. */
function names(sql: string, { functions, relations }: SessionCode): boolean {
  if (escapedNames.test(sql)) return true
  const text = sql.replaceAll('""', '"').toLowerCase()
  for (const name of [...functions, ...relations]) {
    if (text.includes(name.toLowerCase())) return true
  }
  return false
}
