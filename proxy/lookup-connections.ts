// Few connections of the proxy's own to one database, to look users up: never a client's, never with what a client has
// said at its login, and with a search_path that nobody can have put anything into. One question at a time on each.
import type { Clock } from '../core/clock.ts'
import { type PgError, pgError } from '../core/errors.ts'
import { type DialOptions, dial } from '../pool/dial.ts'
import { type Answer, AnswerSink, ask } from '../pool/exchange.ts'
import type { ServerConnection, ServerTarget } from '../pool/server-connection.ts'
import { writeBind, writeExecute, writeParse, writeSync } from '../wire/frontend.ts'
import { Writer } from '../wire/writer.ts'
import { Turns } from './turns.ts'

type LookupConnectionsOptions = {
  /** Where they lead to now; null while there is no such server. */
  readonly target: () => ServerTarget | null
  readonly dial: DialOptions
  readonly clock: Clock
  readonly connectionsMax: number
  /** Connections that are opened at a time to a server, for all of its databases together. */
  readonly dialsTo: (server: ServerTarget) => Turns
  /** For one question, the wait for a connection included. */
  readonly timeoutMs: number
}

/** A connection that nobody has needed for this long is closed. */
const idleMsMax = 60_000
/** More rows than one are wrong already. */
const rowsMax = 2
const setUp =
  "SET search_path = pg_catalog; SET DateStyle = 'ISO, YMD'; SET TimeZone = 'UTC'; " +
  "SET client_min_messages = 'error'"

export class LookupConnections {
  readonly #options: LookupConnectionsOptions
  /** The one used last is at the end. */
  readonly #idle: ServerConnection[] = []
  readonly #turns: Turns
  #closed = false

  constructor(options: LookupConnectionsOptions) {
    this.#options = options
    this.#turns = new Turns(options.connectionsMax)
  }

  /** Rows of `sql` with $1 = `parameter`, two at most. @throws PgError what the server said, or why it was not asked */
  async ask(sql: string, parameter: string): Promise<Answer['rows']> {
    const { clock, timeoutMs } = this.#options
    const late = pgError('serverUnreachable', ['lookup', `no answer within ${timeoutMs} ms`])
    let server: ServerConnection | null = null
    let over = false
    let stop: (error: PgError) => void = () => {}
    const stopped = new Promise<never>((_, reject) => {
      stop = reject
    })
    const deadline = clock.after(timeoutMs, () => {
      over = true
      server?.close(late.message)
      stop(late)
    })
    const inTime = () => {
      if (over) throw late
    }
    const work = async () => {
      try {
        inTime()
        server = this.#takeIdle()
        if (server === null) {
          const target = this.#targetNow()
          server = await this.#options.dialsTo(target).run(() => {
            inTime()
            return this.#open(target)
          })
          inTime()
          await ask(server, this.#setUp)
        }
        inTime()
        const { rows } = await question(server, sql, parameter)
        this.#keep(server)
        return rows
      } catch (error) {
        server?.close('its question failed')
        throw error
      }
    }
    try {
      return await Promise.race([this.#turns.run(work), stopped])
    } finally {
      deadline.cancel()
    }
  }

  close(): void {
    this.#closed = true
    for (const server of this.#idle.splice(0)) server.close('nobody looks users up any more')
  }

  /** One that leads to where the target is now. */
  #takeIdle(): ServerConnection | null {
    const target = this.#options.target()
    for (let server = this.#idle.pop(); server !== undefined; server = this.#idle.pop()) {
      const { host, port } = server.target
      if (host === target?.host && port === target.port) return server
      server.close('another server has taken its place')
    }
    return null
  }

  #targetNow(): ServerTarget {
    const target = this.#options.target()
    if (target === null) throw pgError('serverUnreachable', ['lookup', 'no primary is known'])
    return target
  }

  #open(target: ServerTarget): Promise<ServerConnection> {
    const { dial: options, timeoutMs } = this.#options
    const connectTimeoutMs = Math.min(options.connectTimeoutMs, timeoutMs)
    return dial(target, { ...options, connectTimeoutMs })
  }

  /** A question that nobody waits for any more ends on the server, too: else each would keep a connection there. */
  get #setUp(): string {
    return `${setUp}; SET statement_timeout = ${Math.ceil(this.#options.timeoutMs)}`
  }

  #keep(server: ServerConnection): void {
    const { clock } = this.#options
    if (this.#closed || server.closed || server.transactionStatus !== 'I') {
      return server.close('it is not needed any more')
    }
    server.owner = { serverSpoke: () => {}, serverClosed: () => this.#remove(server) }
    server.idleSinceMs = clock.nowMs()
    this.#idle.push(server)
    clock.after(idleMsMax + 1, () => {
      if (clock.nowMs() - server.idleSinceMs > idleMsMax && this.#remove(server)) {
        server.close('idle for too long')
      }
    })
  }

  #remove(server: ServerConnection): boolean {
    const at = this.#idle.indexOf(server)
    if (at >= 0) this.#idle.splice(at, 1)
    return at >= 0
  }
}

/** The name of the user is a parameter, never part of the statement. */
function question(server: ServerConnection, sql: string, parameter: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const writer = new Writer(sql.length + parameter.length + 64)
    writeParse(writer, '', sql, [])
    const params = [Buffer.from(parameter)]
    writeBind(writer, { portal: '', statement: '', paramFormats: [], params, resultFormats: [] })
    writeExecute(writer, '', rowsMax)
    writeSync(writer)
    server.begin(
      new AnswerSink((error, answer) => (error === null ? resolve(answer) : reject(error))),
    )
    server.send(writer.bytes())
  })
}
