// SHOW POOLS, DATABASES, USERS, LISTS: who shares which servers, and how many there may be.
import type { Database } from '../database.ts'
import type { Rows } from '../fleet.ts'
import { type Links, poolUserOf } from './links.ts'
import { columnsOf, summed, type View } from './view.ts'
import type { AdminWorld } from './world.ts'

const poolColumns = `database user cl_active:int4 cl_waiting:int4 cl_active_cancel_req:int4
  cl_waiting_cancel_req:int4 sv_active:int4 sv_active_cancel:int4 sv_being_canceled:int4 sv_idle:int4
  sv_used:int4 sv_tested:int4 sv_login:int4 maxwait:int4 maxwait_us:int4 pool_mode load_balance_hosts`
const databaseColumns = `name host port:int4 database force_user pool_size:int4 min_pool_size:int4
  reserve_pool_size:int4 server_lifetime:int4 pool_mode load_balance_hosts max_connections:int4
  current_connections:int4 max_client_connections:int4 current_client_connections:int4 paused:int4
  disabled:int4`
const userColumns = `name pool_size reserve_pool_size pool_mode max_user_connections:int4
  current_connections:int4 max_user_client_connections:int4 current_client_connections:int4`

/** By name, lower case. */
export function poolViews(
  world: AdminWorld,
  links: Links,
): Readonly<Record<'pools' | 'databases' | 'users' | 'lists', View>> {
  const settings = {
    port: 'same',
    server_lifetime: 'same',
    paused: 'max',
    disabled: 'max',
  } as const
  const own = { shards: 'same', epoch: 'max' } as const
  return {
    pools: waitJoined(summed(poolColumns, '', 2, () => poolRows(world, links), { maxwait: 'max' })),
    databases: summed(
      databaseColumns,
      'shards:int4 sharded epoch:int8',
      1,
      () => world.databases().map(databaseRow),
      { ...settings, ...own },
    ),
    users: summed(userColumns, '', 1, () => userRows(world, links)),
    lists: {
      columns: columnsOf('list items:int4'),
      own: [],
      local: () => listRows(world, links),
      gather: (snapshots) => joinLists(snapshots.map(({ rows }) => rows)),
    },
  }
}

type PoolSum = {
  readonly active: number
  readonly waiting: number
  readonly cancelling: number
  readonly serversActive: number
  readonly serversCancelled: number
  readonly serversIdle: number
  readonly serversTested: number
  readonly opening: number
  readonly maxWaitUs: number
}

const empty: PoolSum = {
  active: 0,
  waiting: 0,
  cancelling: 0,
  serversActive: 0,
  serversCancelled: 0,
  serversIdle: 0,
  serversTested: 0,
  opening: 0,
  maxWaitUs: 0,
}

/** The wait in one number, so that the longest of all workers can be told: `waitJoined` takes it apart. */
function poolRows(world: AdminWorld, links: Links): Rows {
  const clients = links.clients(world)
  const servers = links.servers(world, clients)
  return world.databases().flatMap((database) => {
    const sums = new Map<string, PoolSum>()
    const add = (user: string, change: (sum: PoolSum) => Partial<PoolSum>) => {
      const sum = sums.get(user) ?? empty
      sums.set(user, { ...sum, ...change(sum) })
    }
    for (const { user, stats } of database.pools) {
      add(user, ({ opening }) => ({ opening: opening + stats.opening }))
    }
    for (const { session, state, waitUs } of clients) {
      if (session.state.database !== database) continue
      add(poolUserOf(database, session.state.client), (sum) => ({
        active: sum.active + (state === 'waiting' ? 0 : 1),
        waiting: sum.waiting + (state === 'waiting' ? 1 : 0),
        maxWaitUs: Math.max(sum.maxWaitUs, waitUs),
      }))
    }
    for (const { pool, server, state, database: of } of servers) {
      if (of !== database) continue
      add(pool.user, (sum) => ({
        cancelling: sum.cancelling + server.cancels.size,
        serversActive: sum.serversActive + (state === 'active' ? 1 : 0),
        serversCancelled: sum.serversCancelled + (state === 'being_canceled' ? 1 : 0),
        serversTested: sum.serversTested + (state === 'tested' ? 1 : 0),
        serversIdle: sum.serversIdle + (state === 'idle' ? 1 : 0),
      }))
    }
    return [...sums].map(([user, sum]) => poolRow(database, user, sum))
  })
}

function poolRow({ options }: Database, user: string, sum: PoolSum): Rows[number] {
  return [
    options.name,
    user,
    sum.active,
    sum.waiting,
    sum.cancelling,
    0,
    sum.serversActive,
    sum.cancelling,
    sum.serversCancelled,
    sum.serversIdle,
    0,
    sum.serversTested,
    sum.opening,
    sum.maxWaitUs,
    0,
    options.mode,
    null,
  ]
}

/** PgBouncer tells the wait in seconds and the microseconds beyond them. */
function waitJoined(view: View): View {
  const at = view.columns.findIndex(({ name }) => name === 'maxwait')
  return {
    ...view,
    gather: (snapshots) =>
      view.gather(snapshots).map((row) => {
        const us = Number(row[at])
        return [...row.slice(0, at), Math.floor(us / 1e6), us % 1e6, ...row.slice(at + 2)]
      }),
  }
}

/** Host and port of the home shard's primary; other shards are in SHOW SHARDS. */
function databaseRow(database: Database): Rows[number] {
  const { options, topology, clients } = database
  const [home] = options.shards
  const { host = null, port = 0 } = database.serversOf(database.home).primaryAddress ?? {}
  const { idle, leased } = database.stats()
  const { pool, mode, serverConnectionsMax } = options
  return [
    options.name,
    host,
    port,
    home?.database ?? null,
    (home?.login ?? options.serverUser)?.name ?? null,
    pool.size,
    pool.min,
    pool.reserve,
    Math.round(pool.serverLifetimeMs / 1_000),
    mode,
    null,
    serverConnectionsMax,
    idle + leased,
    options.clientsMax,
    clients,
    database.serversOf(database.home).paused ? 1 : 0,
    database.control.disabled ? 1 : 0,
    options.shards.length,
    options.rules === null ? 'no' : 'yes',
    topology.epoch,
  ]
}

function userRows(world: AdminWorld, links: Links): Rows {
  const clients = links.clients(world)
  const servers = links.servers(world, clients)
  const seen = clients.map(({ session }) => session.state.client.name)
  const { users, serversPerUserMax, clientsPerUserMax } = world.shared()
  return [...new Set([...world.users(), ...users.keys(), ...seen])].map((name) => {
    const own = users.get(name)
    return [
      name,
      textOf(own?.size),
      textOf(own?.reserve),
      own?.mode ?? null,
      own?.serverConnectionsMax ?? serversPerUserMax,
      servers.filter(({ pool }) => pool.user === name).length,
      own?.clientConnectionsMax ?? clientsPerUserMax,
      seen.filter((each) => each === name).length,
    ]
  })
}

/** PgBouncer tells these two as texts. */
function textOf(size: number | null | undefined): string {
  return size === null || size === undefined ? '' : String(size)
}

function listRows(world: AdminWorld, links: Links): Rows {
  const clients = links.clients(world)
  const servers = links.servers(world, clients)
  return [
    ['databases', world.databases().length],
    ['users', world.users().length],
    ['peers', 0],
    ['pools', poolRows(world, links).length],
    ['peer_pools', 0],
    ['free_clients', 0],
    ['used_clients', clients.length],
    ['login_clients', world.logins()],
    ['free_servers', 0],
    ['used_servers', servers.length],
    ['dns_names', 0],
    ['dns_zones', 0],
    ['dns_queries', 0],
    ['dns_pending', 0],
  ]
}

/** Connections of all workers together; what the configuration says is the same in each. */
function joinLists(lists: readonly Rows[]): Rows {
  const [first = []] = lists
  return first.map(([name = null], at) => {
    const counts = lists.map((rows) => Number(rows[at]?.[1] ?? 0))
    const same = name === 'databases' || name === 'users' || name === 'pools'
    return [name, same ? Math.max(...counts) : counts.reduce((sum, count) => sum + count, 0)]
  })
}
