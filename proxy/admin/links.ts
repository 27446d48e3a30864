// Who is connected to whom at this moment: every client of the proxy with the servers that it holds, every server with
// its client. Made anew for each question; nothing of it is kept on the way of statements.
import type { ServerConnection } from '../../pool/server-connection.ts'
import type { Pool } from '../../pool/pool.ts'
import type { Database } from '../database.ts'
import type { Credentials } from '../database-options.ts'
import type { Session } from '../session.ts'
import type { AdminWorld } from './world.ts'

export type ClientLink = {
  /** As its cancel key has it, the same in all workers: what KILL_CLIENT takes. */
  readonly id: number
  readonly session: Session
  readonly servers: readonly ServerConnection[]
  readonly state: 'active' | 'idle' | 'waiting'
  /** How long it has been waiting for a server, microseconds; 0 when it is not. */
  readonly waitUs: number
}

export type ServerLink = {
  readonly id: number
  readonly database: Database
  readonly pool: Pool
  readonly server: ServerConnection
  readonly client: ClientLink | null
  readonly state: 'active' | 'idle' | 'tested' | 'being_canceled'
}

/** Numbers of server connections, given when somebody asks for the first time. */
const serversPerWorkerMax = 1_000_000

export class Links {
  readonly #ids = new WeakMap<ServerConnection, number>()
  #lastId = 0

  clients({ sessions, clock }: AdminWorld): readonly ClientLink[] {
    const nowMs = clock.nowMs()
    return [...sessions.entries()].map(([id, session]) => {
      const since = session.times.waitingSinceMs
      const servers = [...session.state.leases].map(({ server }) => server)
      const busy = servers.length > 0 || session.phase === 'running'
      const state = since !== null ? 'waiting' : busy ? 'active' : 'idle'
      const waitUs = since === null ? 0 : Math.max(0, Math.round((nowMs - since) * 1_000))
      return { id, session, servers, state, waitUs }
    })
  }

  servers(world: AdminWorld, clients: readonly ClientLink[]): readonly ServerLink[] {
    const clientOf = new Map(
      clients.flatMap((client) => client.servers.map((server) => [server, client] as const)),
    )
    return world.databases().flatMap((database) =>
      database.pools.flatMap((pool) =>
        [...pool.connections].map((server): ServerLink => {
          const client = clientOf.get(server) ?? null
          const ridden = pool.lane.servers.some((lent) => {
            return lent.server === server && lent.riders.length > 0
          })
          const state = stateOf(server, client !== null || ridden)
          return { id: this.idOf(server, world), database, pool, server, client, state }
        }),
      ),
    )
  }

  idOf(server: ServerConnection, { fleet }: AdminWorld): number {
    const known = this.#ids.get(server)
    if (known !== undefined) return known
    this.#lastId += 1
    const id = fleet.worker * serversPerWorkerMax + this.#lastId
    this.#ids.set(server, id)
    return id
  }
}

/** Name under which the client's pool is listed: that of the login on the home shard. */
export function poolUserOf({ options }: Database, client: Credentials): string {
  return (options.shards[0]?.login ?? options.serverUser ?? client).name
}

/** A server of the fast lane is lent to whoever rides on it. */
function stateOf(server: ServerConnection, isLent: boolean): ServerLink['state'] {
  if (isLent) return 'active'
  if (server.cancels.size > 0) return 'being_canceled'
  return server.exchangesOwed > 0 ? 'tested' : 'idle'
}
