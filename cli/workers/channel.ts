// Two of our processes talk: a worker and its supervisor, an old supervisor and its successor. Each may call what the
// other one offers; what comes in is not believed to be well formed. When the other side ends, whoever waits is told.
import { PgError, toPgError } from '../../core/errors.ts'
import { z } from 'zod'

/** What the other side may call. Arguments and results are JSON. */
export type Offered = Readonly<Record<string, (given: unknown) => Promise<unknown>>>

type Waiting = {
  readonly done: (value: unknown) => void
  readonly failed: (error: Error) => void
}

const failure = z.object({
  message: z.string(),
  sqlstate: z.string(),
  detail: z.string().optional(),
  hint: z.string().optional(),
})

const envelope = z.union([
  z.object({ call: z.number(), method: z.string(), given: z.unknown() }),
  z.object({ reply: z.number(), value: z.unknown() }),
  z.object({ reply: z.number(), failure }),
])

// A call that is waiting here has a client or an operator behind it; nobody has that many.
const waitingMax = 10_000

/** One end of the talk. */
export class Channel {
  readonly #send: (message: object) => void
  readonly #offered: Offered
  readonly #waiting = new Map<number, Waiting>()
  #last = 0
  #closed = false

  /** `send` takes messages to the other end, and may throw once it has gone. */
  constructor(send: (message: object) => void, offered: Offered) {
    this.#send = send
    this.#offered = offered
  }

  get closed(): boolean {
    return this.#closed
  }

  /**
   * Calls `method` of the other side; waits for `deadlineMs`, or without a bound where the other side's end is one.
   * @throws PgError of the other side, 57P01 when it has gone, 57014 when it is late
   */
  async call(method: string, given: unknown, deadlineMs: number | null): Promise<unknown> {
    if (this.#closed || this.#waiting.size >= waitingMax) throw gone(method)
    this.#last += 1
    const call = this.#last
    let timer: NodeJS.Timeout | undefined
    try {
      return await new Promise((done, failed) => {
        this.#waiting.set(call, { done, failed })
        if (deadlineMs !== null) timer = setTimeout(() => failed(late(method)), deadlineMs)
        this.#send({ call, method, given })
      })
    } finally {
      clearTimeout(timer)
      this.#waiting.delete(call)
    }
  }

  /** Takes a message of the other side. */
  received(message: unknown): void {
    const parsed = envelope.safeParse(message)
    if (!parsed.success) return
    const { data } = parsed
    if ('call' in data) void this.#answer(data.call, data.method, data.given)
    else if ('failure' in data) this.#waiting.get(data.reply)?.failed(errorOf(data.failure))
    else this.#waiting.get(data.reply)?.done(data.value)
  }

  /** The other side has gone. */
  close(): void {
    this.#closed = true
    for (const { failed } of this.#waiting.values()) failed(gone('the call'))
  }

  async #answer(reply: number, method: string, given: unknown): Promise<void> {
    let answer: object
    try {
      const offered = this.#offered[method]
      if (offered === undefined) throw new Error(`nobody offers "${method}"`)
      // JSON has no undefined.
      answer = { reply, value: (await offered(given)) ?? null }
    } catch (error) {
      const { message, sqlstate, detail, hint } = toPgError(error)
      answer = { reply, failure: { message, sqlstate, detail, hint } }
    }
    try {
      if (!this.#closed) this.#send(answer)
    } catch {
      // The other side went while it was being served.
    }
  }
}

function errorOf({ message, sqlstate, detail, hint }: z.output<typeof failure>): PgError {
  return new PgError(message, { sqlstate, detail, hint })
}

function gone(method: string): PgError {
  const message = `a process of the proxy has ended before it answered "${method}"`
  return new PgError(message, { sqlstate: '57P01' })
}

function late(method: string): PgError {
  return new PgError(`a process of the proxy did not answer "${method}" in time`, {
    sqlstate: '57014',
  })
}
