// From a login to a session of its database, or to a replication connection there.
import type { Socket } from 'node:net'
import { pgError, toPgError } from '../core/errors.ts'
import type { Receiver } from './client-link.ts'
import type { ProxyContext } from './context.ts'
import type { Databases, Found } from './databases.ts'
import { type Entrance, startupIn } from './entrance.ts'
import type { LoggedIn } from './login.ts'
import type { Replications } from './replication.ts'
import { Session } from './session.ts'
import { limitsOf } from './session-limits.ts'
import type { Sessions } from './sessions.ts'
import { welcome } from './welcome.ts'

type EnteringOptions = {
  readonly context: ProxyContext
  readonly entrance: Entrance
  readonly databases: Databases
  readonly sessions: Sessions
  readonly replications: Replications
  /** Nobody is let in any more. */
  readonly isDraining: () => boolean
}

export class Entering {
  readonly #options: EnteringOptions
  readonly #closed = (session: Session) => this.#leave(session)

  constructor(options: EnteringOptions) {
    this.#options = options
  }

  /** Who takes the connection over. @throws PgError refusal */
  async enter(found: Found, login: LoggedIn): Promise<Receiver> {
    const { entrance, databases } = this.#options
    const { account, startup, transport } = login
    const { database } = found
    entrance.enter(database, startup.database, account.name)
    let inside = true
    // Its place is for others at once, not when the server comes that nobody waits for any more.
    const leave = () => {
      if (inside) entrance.leave(database, account.name)
      inside = false
    }
    transport.socket.once('close', leave)
    try {
      if (startup.replication.size > 0) return await this.#replicate(found, login)
      return await this.#begin(found, login)
    } catch (error) {
      leave()
      throw databases.meaningOf(database, toPgError(error))
    } finally {
      transport.socket.off('close', leave)
    }
  }

  async #begin(found: Found, { account, startup, framer, transport }: LoggedIn): Promise<Session> {
    const { context, entrance, sessions, isDraining } = this.#options
    const { socket, outbox } = transport
    const { database, readOnly } = found
    const client = account.login
    const limits = limitsOf(database.options, entrance.limits.users.get(account.name))
    const asked = startupIn(found, startup, addressOf(socket))
    const { settings, reported: known } = await database.reports.atLogin(asked, client)
    // A driver that looks for a standby (target_session_attrs) goes by these.
    const reported = readOnly ? new Map([...known, ['in_hot_standby', 'on']]) : known
    if (socket.destroyed) throw pgError('loginAbandoned')
    if (isDraining()) throw pgError('notAccepting')
    const key = sessions.newKey(startup.minor)
    const whose = { database, client, startup: settings, readOnly, reported, limits }
    const session = new Session({ socket, framer, outbox, ...whose, closed: this.#closed }, context)
    sessions.add(key, session)
    database.control.entered(session)
    context.observation.connected(session)
    context.metrics.clients.inc({ database: startup.database })
    welcome(outbox, reported, key)
    return session
  }

  async #replicate(found: Found, { account, startup, framer, transport }: LoggedIn) {
    const { entrance, sessions, replications } = this.#options
    const { socket, outbox } = transport
    const { database, readOnly } = found
    const { mode } = limitsOf(database.options, entrance.limits.users.get(account.name))
    const wish = { socket, outbox, framer, database, client: account.login, startup }
    const link = await replications.connect(wish, mode === 'session' && !readOnly)
    if (socket.destroyed) {
      link.close()
      throw pgError('loginAbandoned')
    }
    welcome(outbox, link.server.parameters, sessions.newKey(startup.minor))
    let inside = true
    const receiver: Receiver = {
      received: (chunk) => link.received(chunk),
      drained: () => link.drained(),
      close: () => {
        link.close()
        if (inside) entrance.leave(database, account.name)
        inside = false
      },
    }
    return receiver
  }

  #leave(session: Session): void {
    const { context, entrance, sessions } = this.#options
    const { database, client } = session.state
    context.observation.disconnected(session)
    sessions.remove(session.processId)
    entrance.leave(database, client.name)
  }
}

/** With its port; one of the Unix socket has neither. */
function addressOf({ remoteAddress, remotePort }: Socket): string {
  return remoteAddress === undefined ? 'unix' : `${remoteAddress}:${remotePort}`
}
