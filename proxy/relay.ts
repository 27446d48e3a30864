// Replies of one server on their way to one client: the hot path back.
//
// `owed` lists what the client still expects, in order, one entry per request: forward the server's reply,
// swallow it (we asked, not the client), or synthesize it (the client asked, no server had to). Rows are
// forwarded in slices, unread. An error cancels everything owed up to ReadyForQuery, as on the server.
//
// A read that fails before its first row may be run again elsewhere. What the client has been told until then, that its
// messages were taken, is told once: later runs' replies of that kind are dropped, as many as went out. They must say
// the same; where they do not, the client is told so and hears nothing of that run.
import type { PgError } from '../core/errors.ts'
import type { ReplySink, ServerConnection } from '../pool/server-connection.ts'
import { decodeCommandComplete, decodeErrorFields, rewriteErrorSeverity } from '../wire/backend.ts'
import { backend } from '../wire/codes.ts'
import { fenceError } from './repeat-verdict.ts'

/** What one request of the present exchange still owes the client. */
export type Owed =
  | 'parse'
  | 'swallowParse'
  | 'bind'
  | 'describe'
  | 'execute'
  /** Of a simple query that runs prepared and writes: PostgreSQL tells of its end once it is committed. */
  | 'executeAndCommit'
  | 'close'
  | 'swallowClose'
  | 'swallowBind'
  /** Of a simple query that runs prepared: RowDescription is told, NoData is not. */
  | 'describeRows'
  | 'synthParse'
  | 'synthClose'
  /** Close of a portal that no server has. */
  | 'synthClosePortal'
  /** A message that must fail, so that the server rolls back: its error is replaced by ours. */
  | 'poison'
  /** Anything up to ReadyForQuery of a simple query. */
  | 'query'
  | 'sync'

/** The session, as the relay sees it. */
export interface RelayHost {
  /** Copies bytes into the client's next write; slows the server down when the client lags. */
  forward(bytes: Uint8Array): void
  /** A ParameterStatus: the client is told when it does not know the value yet. */
  parameterReported(bytes: Uint8Array): void
  /** The next statement in order was completed with this tag; '' for an empty query. */
  statementCompleted(tag: string): void
  /** The next Execute in order stopped at its row limit. */
  statementSuspended(): void
  /** The next Parse or Close of the client, in order, took effect. */
  definitionCompleted(): void
  /** RowDescription or NoData came for the next Describe in order. */
  described(bytes: Uint8Array): void
  /** The next Parse that was sent to the server, in order, was accepted. */
  serverParsed(): void
  copyInStarted(): void
  /** The statement failed; the error has been forwarded. Null: it was ours. */
  statementFailed(sqlstate: string | null): void
  /** ReadyForQuery came: the exchange is over. */
  exchangeFinished(server: ServerConnection): void
  /** Nothing is owed any more, but no Sync was sent yet (Flush). */
  flushed(): void
  /** The server died with replies owed; `torn`: the client has been sent the beginning of a message that has no end. */
  serverLost(error: PgError, torn: boolean): void
  /** A later run of the command says something else than what the client was told of the first. */
  resultChanged(): void
  /** True when there are errors after which the command would be run again. */
  mayRepeat(): boolean
  /** True when the command is to be run again after that error; null: the connection was lost. `bound`: it had begun to run. */
  repeatsAfter(sqlstate: string | null, bound: boolean): boolean
  /** The failed exchange is over: the command may be run again now. `sqlstate` as in `repeatsAfter`. */
  repeat(server: ServerConnection, sqlstate: string | null): void
}

/** What ringfence.reject_fenced() calls itself. */
const fenceConstraint = 'ringfence_fence'

/** Of a message without a body. */
const bareBytes = 5

const parseComplete = Uint8Array.of(backend.parseComplete, 0, 0, 0, 4)
const closeComplete = Uint8Array.of(backend.closeComplete, 0, 0, 0, 4)

/** Replies without any of the result. */
const takes: ReadonlySet<number> = new Set([
  backend.parseComplete,
  backend.bindComplete,
  backend.closeComplete,
  backend.rowDescription,
  backend.noData,
])

/** Message that ends each kind of debt; ParameterDescription before it is forwarded as it comes. */
const synthesized: Partial<Record<Owed, Uint8Array>> = {
  synthParse: parseComplete,
  synthClose: closeComplete,
  synthClosePortal: closeComplete,
}

export class Relay implements ReplySink {
  readonly rows = 'stream'
  readonly #host: RelayHost
  #owed: Owed[] = []
  #at = 0
  #server: ServerConnection | null = null
  #poisonError: Uint8Array | null = null
  #synced = false
  /** Rows or results have gone out: the command cannot be run again. */
  #committed = false
  /** Of a command that may be run again: what was told that its messages were taken; null for what never differs. */
  readonly #told: (Uint8Array | null)[] = []
  /** Of the present run: how many of them have come. */
  #taken = 0
  #repeatable = false
  #repeating = false
  /** The client hears nothing more of this exchange but its end. */
  #deaf = false
  /** CommandComplete that waits for the commit. */
  #held: Uint8Array | null = null
  #repeatsBecause: string | null = null
  /** The exchange has met an error. */
  failed = false

  constructor(host: RelayHost) {
    this.#host = host
  }

  /** Server whose exchange is open: from `open` to ReadyForQuery or its death. */
  get server(): ServerConnection | null {
    return this.#server
  }

  get settled(): boolean {
    return this.#at === this.#owed.length
  }

  /** True when the client has a part of a message whose rest is still to come: whatever were said now, it would read as that. */
  get torn(): boolean {
    return this.#server?.isInMessage === true && this.#committed && !this.#deaf
  }

  /** The Sync of this exchange is ours: the client has sent a Flush and hears no ReadyForQuery. */
  quiet = false

  /** The client's next command: what it was told of the one before counts no more. */
  nextCommand(): void {
    this.#repeating = false
    this.#repeatsBecause = null
    if (this.#told.length > 0) this.#told.length = 0
  }

  /** Starts an exchange with `server`; `expect` says what is owed. */
  open(server: ServerConnection): void {
    // Cheaper than to empty the old one.
    this.#owed = []
    this.#at = 0
    this.#committed = false
    this.#taken = 0
    this.#repeating = false
    this.#deaf = false
    this.#held = null
    this.failed = false
    this.#synced = false
    this.quiet = false
    this.#server = server
    this.#repeatable = this.#host.mayRepeat()
    server.begin(this)
  }

  /** Nothing more of the exchange comes: its server was taken away from behind it before it said anything. */
  leave(): void {
    this.#server = null
    this.#at = this.#owed.length
  }

  expect(debt: Owed): void {
    if (debt === 'sync' || debt === 'query') this.#synced = true
    this.#owed.push(debt)
  }

  /** The next error of a 'poison' is shown to the client as `error`, a whole ErrorResponse. */
  poison(error: Uint8Array): void {
    this.#poisonError = error
    this.#owed.push('poison')
  }

  /** Answers what stands first in line and needs no server; to be called after `expect`. */
  pump(): void {
    for (;;) {
      const debt = this.#owed[this.#at]
      const bytes = debt === undefined ? undefined : synthesized[debt]
      if (bytes === undefined) break
      this.#at += 1
      if (debt !== 'synthClosePortal') this.#host.definitionCompleted()
      this.#tellTaken(bytes)
    }
  }

  slice(bytes: Uint8Array): void {
    if (this.#deaf) return
    this.#committed = true
    this.#host.forward(bytes)
  }

  /** True when the command has failed, is about to be run again, and the client has been told a part of the answer. */
  get repeatsHalfTold(): boolean {
    return this.#repeating && this.#told.length > 0
  }

  frame(code: number, bytes: Uint8Array): void {
    const passes = code === backend.readyForQuery || code === backend.parameterStatus
    if (this.#deaf && !passes) return
    switch (code) {
      case backend.readyForQuery:
        this.#finished()
        return
      case backend.errorResponse:
        this.#error(bytes)
        return
      case backend.parameterStatus:
        this.#host.parameterReported(bytes)
        return
      case backend.parameterDescription:
        this.#tellTaken(bytes)
        return
      case backend.noticeResponse:
        this.#host.forward(bytes)
        return
      case backend.copyInResponse:
        this.#committed = true
        this.#host.forward(bytes)
        this.#ignoreSync()
        this.#host.copyInStarted()
        return
      default:
        this.#reply(code, bytes)
    }
  }

  /** True when a ReadyForQuery was to come: the client waits for one. */
  get synced(): boolean {
    return this.#synced
  }

  /** True for a pipeline of several statements: all of them were read before the first had its effect. */
  get readAhead(): boolean {
    return this.#owed.filter((debt) => debt === 'execute').length > 1
  }

  /** True for the exchange of a simple query. */
  get simple(): boolean {
    return this.#owed[this.#at] === 'query'
  }

  #finished(): void {
    const server = this.#server
    this.#server = null
    this.#at = this.#owed.length
    if (server === null) return
    if (this.#held !== null) this.#host.forward(this.#held)
    this.#held = null
    if (this.#repeating) return this.#host.repeat(server, this.#repeatsBecause)
    // The client may be silent for long now.
    if (this.#told.length > 0) this.#told.length = 0
    this.#host.exchangeFinished(server)
  }

  lost(error: PgError): void {
    const server = this.#server
    const repeats = this.#repeating || (!this.#isAnswered() && this.#host.repeatsAfter(null, true))
    this.#at = this.#owed.length
    if (server === null || !repeats) {
      const { torn } = this
      this.#server = null
      return this.#host.serverLost(error, torn)
    }
    if (!this.#repeating) this.#repeatsBecause = null
    this.#repeating = true
    this.#server = null
    this.#host.repeat(server, this.#repeatsBecause)
  }

  /** An error has been told, or something of the result. */
  #isAnswered(): boolean {
    return this.#committed || this.failed
  }

  /** A reply that says that a message was taken. */
  #tellTaken(bytes: Uint8Array): void {
    const told = this.#told[this.#taken]
    this.#taken += 1
    if (told === undefined) {
      if (this.#repeatable)
        this.#told.push(bytes.length === bareBytes ? null : new Uint8Array(bytes))
      return this.#host.forward(bytes)
    }
    if (told === null ? bytes.length === bareBytes : Buffer.compare(told, bytes) === 0) return
    // Another shard numbers tables and types differently; that they are the same ones, the move has
    // made sure.
    if (this.#repeatsBecause === fenceError) return
    this.failed = true
    this.#deaf = true
    this.#at = this.#owed.length
    this.#host.resultChanged()
  }

  #reply(code: number, bytes: Uint8Array): void {
    const debt = this.#owed[this.#at]
    if (!isSwallowed(debt, code)) {
      if (takes.has(code)) {
        this.#tellTaken(bytes)
        if (this.#deaf) return
      } else {
        this.#committed = true
        if (debt === 'executeAndCommit' && code === backend.commandComplete) {
          this.#held = Uint8Array.from(bytes)
        } else this.#host.forward(bytes)
      }
    }
    if (code === backend.commandComplete)
      this.#host.statementCompleted(decodeCommandComplete(bytes))
    else if (code === backend.emptyQueryResponse || code === backend.functionCallResponse)
      this.#host.statementCompleted('')
    else if (code === backend.portalSuspended) this.#host.statementSuspended()
    // A simple query may bring any number of replies; rows' headers and CopyOut do not end an Execute.
    if (debt === undefined || debt === 'query' || debt === 'sync') return
    if (code === backend.copyOutResponse || code === backend.copyDone) return
    this.#at += 1
    if (debt === 'parse') this.#host.definitionCompleted()
    if (debt === 'describe') this.#host.described(bytes)
    if (debt === 'parse' || debt === 'swallowParse') this.#host.serverParsed()
    this.pump()
    if (this.settled) this.#host.flushed()
  }

  #error(bytes: Uint8Array): void {
    const debt = this.#owed[this.#at]
    const poison = debt === 'poison' ? this.#poisonError : null
    const sqlstate = sqlstateOf(bytes)
    const bound = debt !== 'swallowParse' && debt !== 'swallowBind'
    this.#held = null
    if (poison === null && !this.#isAnswered() && this.#host.repeatsAfter(sqlstate, bound)) {
      this.#repeating = true
      this.#repeatsBecause = sqlstate
      this.#at = this.#owed.length
      return
    }
    this.failed = true
    this.#at = this.#owed.length
    this.#host.forward(poison ?? rewriteErrorSeverity(bytes, 'ERROR'))
    this.#host.statementFailed(poison === null ? sqlstate : null)
    if (!this.#synced) this.#host.flushed()
  }

  /** In copy-in mode the server ignores a Sync that was sent with the Execute: none is answered. */
  #ignoreSync(): void {
    if (this.#owed[this.#at] !== 'execute') return
    this.#owed.length = this.#at + 1
    this.#synced = false
  }
}

function isSwallowed(debt: Owed | undefined, code: number): boolean {
  if (debt === 'describeRows') return code === backend.noData
  return debt === 'swallowParse' || debt === 'swallowClose' || debt === 'swallowBind'
}

function sqlstateOf(error: Uint8Array): string {
  const fields = decodeErrorFields(error)
  const isFence = fields.get('C') === '40001' && fields.get('n') === fenceConstraint
  return isFence ? fenceError : (fields.get('C') ?? '')
}
