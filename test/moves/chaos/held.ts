// How many statements proxies have held for moves, and for how long: asked of their metrics every second. What a proxy
// counted in its last second before it was killed is missing.
import type { ChaosStack } from './stack.ts'
import { proxyCount } from './stack.ts'

const lookMs = 1_000
const answerTimeoutMs = 500
const counters = /^ringfence_held_(statements_total|seconds_total)(?:\{[^}]*\})? (\S+)$/gm

export class HeldStatements {
  readonly #stack: ChaosStack
  readonly #last = Array.from({ length: proxyCount }, () => ({ statements: 0, seconds: 0 }))
  #timer: NodeJS.Timeout | null = null
  statements = 0
  seconds = 0

  constructor(stack: ChaosStack) {
    this.#stack = stack
  }

  start(): void {
    this.#timer = setInterval(() => void this.#look(), lookMs)
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
  }

  async #look(): Promise<void> {
    await Promise.all(this.#last.map((_, at) => this.#ask(at).catch(() => undefined)))
  }

  async #ask(at: number): Promise<void> {
    const signal = AbortSignal.timeout(answerTimeoutMs)
    const answer = await fetch(`http://127.0.0.1:${this.#stack.httpPort(at)}/metrics`, { signal })
    const now = { statements: 0, seconds: 0 }
    for (const [, name, text] of (await answer.text()).matchAll(counters)) {
      if (name === 'statements_total') now.statements += Number(text)
      else now.seconds += Number(text)
    }
    const last = this.#last[at] ?? now
    // A proxy that was started again counts from the beginning.
    const isNew = now.statements < last.statements
    this.statements += now.statements - (isNew ? 0 : last.statements)
    this.seconds += now.seconds - (isNew ? 0 : last.seconds)
    this.#last[at] = now
  }
}
