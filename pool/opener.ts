// How a pool comes to its connections: where they lead to, how many are being dialled, what happens when that fails.
//
// Where they lead to may change (`point`): a failover has another server follow as the primary. While there is none,
// or it cannot be reached, waiters stay in the queue until the outage has lasted `outageWaitMs`; from then on
// statements fail at once, but for one that tries again now and then (outage.ts). One connection at a time is tried
// while it lasts. A login that the server refuses fails at once who waits, and is tried again after a pause that grows.
import type { Timer } from '../core/clock.ts'
import { type PgError, pgError, toPgError } from '../core/errors.ts'
import { dial } from './dial.ts'
import { ask } from './exchange.ts'
import { isOutage, Outage } from './outage.ts'
import type { LoginProof } from './login-secret.ts'
import type { PoolOptions } from './pool-options.ts'
import { type BudgetMember, takePlaces } from './server-budget.ts'
import type { ServerConnection, ServerTarget } from './server-connection.ts'
import { isSamePlace } from './stranded.ts'

/** The pool, as its opener sees it. */
export interface OpenerHost extends BudgetMember {
  /** Statements that wait for a connection. */
  readonly waiting: number
  /** Connections that are open. */
  readonly there: number
  /** Connections that there may be now. */
  readonly sizeNow: number
  /** False while it is paused or closed. */
  readonly mayOpen: boolean
  /** A connection is there, logged in and admitted. */
  opened(server: ServerConnection): void
  refuseAll(error: PgError): void
}

// After a login that the server refused, new statements fail fast for a moment instead of dialling again each.
const loginRetryMsMin = 500
// A login costs what many statements do: the first connections serve who waits while the next ones are opened.
const openingMax = 4

type Failure = {
  readonly error: PgError
  readonly untilMs: number
  /** What was shown to the server: with something else there is no reason to wait. */
  readonly proof: LoginProof | null
}

export class Opener {
  readonly #options: PoolOptions
  readonly #host: OpenerHost
  #target: ServerTarget | null
  #opening = 0
  /** Grows with every change of target: what was dialled for an older one is closed. */
  #targetNumber = 0
  #failure: Failure | null = null
  #failurePauseMs = loginRetryMsMin
  #outage: Outage | null = null
  #retry: Timer | null = null
  #loginRetryMs: number

  /** `target` null: there is no server to connect to yet. */
  constructor(options: PoolOptions, host: OpenerHost, target: ServerTarget | null) {
    this.#options = options
    this.#host = host
    this.#target = target
    this.#loginRetryMs = options.loginRetryMs
    if (target === null) this.#outage = this.#newOutage('no primary is known')
  }

  /** Connections being dialled. */
  get opening(): number {
    return this.#opening
  }

  /** Where new connections lead to; null while there is no such server. */
  get target(): ServerTarget | null {
    return this.#target
  }

  get targetNumber(): number {
    return this.#targetNumber
  }

  /** True while statements would have to wait for a server that cannot be reached. */
  get isOut(): boolean {
    return this.#outage !== null
  }

  set loginRetryMs(ms: number) {
    this.#loginRetryMs = ms
  }

  /** False when that is where connections lead to already. */
  leadsElsewhere(target: ServerTarget | null): boolean {
    return !(isSamePlace(this.#target, target) && target !== null && this.#outage === null)
  }

  /** What is open or being dialled is of the past from now on. */
  renew(target: ServerTarget | null): void {
    this.#target = target
    this.#targetNumber += 1
    this.#opening = 0
  }

  /** After `renew`: goes on with the new target. */
  pointed(reason: string): void {
    if (this.#target === null) this.#outage ??= this.#newOutage(reason)
    this.#outage?.retryNow()
    this.#failure = null
    this.open()
    this.#retryLater()
  }

  /** A pause is over: its time does not count. */
  resumed(): void {
    this.#outage?.waitAnew(this.#options.clock.nowMs())
    this.open()
    this.#retryLater()
  }

  close(): void {
    this.#retry?.cancel()
  }

  /** Why waiting is of no use now; null when it may be. */
  refusalNow(now: number): PgError | null {
    const outage = this.#outage
    if (outage?.isOver(now) === true) {
      const tries = this.#target !== null && this.#opening === 0 && outage.mayTry(now)
      return tries ? null : outage.error(now)
    }
    if (this.#host.there > 0) return null
    return this.#failureAt(now)?.error ?? null
  }

  #failureAt(now: number): Failure | null {
    const failure = this.#failure
    if (failure === null || now >= failure.untilMs) return null
    return failure.proof === this.#proof ? failure : null
  }

  get #proof(): LoginProof | null {
    return this.#target?.secret?.proof ?? null
  }

  /** Dials when somebody waits for whom no connection is being opened yet, or there are not `count`. True when it does. */
  open(count = 0): boolean {
    const host = this.#host
    const target = this.#target
    if (target === null || !host.mayOpen) return false
    const there = host.there + this.#opening
    const wanted = Math.max(host.waiting, this.#opening + count - there)
    if (this.#opening >= Math.min(wanted, openingMax) || there >= host.sizeNow) return false
    if (!this.#mayTry()) return false
    if (!takePlaces(this.#options.budgets, host)) return false
    this.#opening += 1
    const number = this.#targetNumber
    const proof = this.#proof
    this.#dial(target).then(
      (server) => this.#opened(server, number),
      (error: unknown) => {
        this.#givePlace()
        this.#failed(toPgError(error), number, proof)
      },
    )
    return true
  }

  #mayTry(): boolean {
    if (this.#outage === null && this.#failure === null) return true
    const now = this.#options.clock.nowMs()
    if (this.#failureAt(now) !== null) return false
    return this.#outage === null || (this.#opening === 0 && this.#outage.mayTry(now))
  }

  async #dial(target: ServerTarget): Promise<ServerConnection> {
    const { admit, clock, connectQuery } = this.#options
    const dialledAtMs = clock.nowMs()
    const server = await dial(target, this.#options.dial)
    if (admit === null && connectQuery === null) return server
    // A server that lets us in and then says nothing would keep its place for ever.
    const { connectTimeoutMs } = this.#options.dial
    let late: string | null = null
    const deadline = clock.after(connectTimeoutMs, () => {
      late = `no answer within ${connectTimeoutMs} ms of its login`
      server.close(late)
    })
    try {
      if (admit !== null) await admit(server, dialledAtMs)
      if (connectQuery !== null) await ask(server, connectQuery)
      return server
    } catch (error) {
      server.close('it is not the server that is wanted')
      throw late === null ? error : pgError('serverUnreachable', [this.#options.shard, late])
    } finally {
      deadline.cancel()
    }
  }

  #givePlace(): void {
    for (const budget of this.#options.budgets) budget.give()
  }

  #opened(server: ServerConnection, number: number): void {
    if (number !== this.#targetNumber || server.closed) this.#givePlace()
    if (number !== this.#targetNumber) return server.close('another server has taken its place')
    if (server.closed) {
      const { shard } = this.#options
      return this.#failed(pgError('serverUnreachable', [shard, 'it hung up']), number, null)
    }
    this.#opening -= 1
    this.#failure = null
    this.#failurePauseMs = loginRetryMsMin
    this.#outage = null
    this.#retry?.cancel()
    this.#retry = null
    server.targetNumber = number
    this.#host.opened(server)
    // After an outage many may wait for whom none was being opened.
    while (this.open());
  }

  #failed(error: PgError, number: number, proof: LoginProof | null): void {
    if (number !== this.#targetNumber) return
    this.#opening -= 1
    const { clock, log, suspect, shard } = this.#options
    log.warn({ shard, reason: error.message }, 'server connection failed')
    // With connections alive the waiters still have a chance.
    const alone = this.#host.there === 0
    if (isOutage(error)) {
      if (alone) this.#outage ??= this.#newOutage(error.message)
      this.#outage?.failed(clock.nowMs(), error)
      suspect(error.message)
    } else {
      this.#failure = { error, untilMs: clock.nowMs() + this.#failurePauseMs, proof }
      const longest = Math.max(loginRetryMsMin, this.#loginRetryMs)
      this.#failurePauseMs = Math.min(longest, this.#failurePauseMs * 2)
      if (alone) this.#host.refuseAll(error)
    }
    this.#retryLater()
  }

  #newOutage(reason: string): Outage {
    const { clock, outageWaitMs, shard } = this.#options
    return new Outage(shard, reason, clock.nowMs(), outageWaitMs)
  }

  /** Somebody waits since `now`, when `refusalNow` was asked. */
  queued(now: number): void {
    this.open()
    if (this.#retry !== null) return
    if (this.#outage !== null || this.#failure !== null) this.#retryLater(now)
  }

  /**
   * While somebody waits for a connection that failed: the next try, or the end of the waiting. `now` is what the caller
   * has gone by: if it read the clock before the end of the waiting and we behind it, who waits would be taken for one
   * who has come since.
   */
  #retryLater(now = this.#options.clock.nowMs()): void {
    this.#retry?.cancel()
    this.#retry = null
    const host = this.#host
    if (host.waiting === 0 || !host.mayOpen) return
    const outage = this.#outage
    if (outage?.isOver(now) === true) {
      // Who waits now has come since, to try: the end of the try decides.
      if (this.#opening === 0) host.refuseAll(outage.error(now))
      return
    }
    const canTry = this.#target !== null && this.#opening === 0
    const failedUntilMs = this.#failureAt(now)?.untilMs ?? 0
    const failureMs = failedUntilMs > now ? failedUntilMs - now : loginRetryMsMin
    const delayMs = outage?.pauseMs(now, canTry) ?? failureMs
    this.#retry = this.#options.clock.after(delayMs, () => this.#retryNow())
  }

  #retryNow(): void {
    const now = this.#options.clock.nowMs()
    const outage = this.#outage
    if (outage?.isOver(now) === true) return this.#host.refuseAll(outage.error(now))
    this.open()
    this.#retryLater(now)
  }
}
