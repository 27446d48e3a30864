// What PgBouncer has no table for: shards, replicas, virtual nodes, moves, keys and clients that are pinned, plans, workers.
import { formatLsn } from '../../core/lsn.ts'
import { formatVnodes } from '../../core/vnode-ranges.ts'
import type { Database } from '../database.ts'
import { laneCountsOf } from '../lane-figures.ts'
import type { Links } from './links.ts'
import { anyWorker, eachWorker, summed, type View } from './view.ts'
import type { AdminWorld } from './world.ts'

const shardColumns = `database shard host port:int4 vnodes:int4 paused idle:int4 active:int4 opening:int4
  waiting:int4`
const replicaColumns = `database shard host port:int4 role state reason timeline:int4 lsn lag_bytes:int8 lag_ms:int8
  idle:int4 active:int4 ewma_ms reads:int8`
const planColumns = `database templates:int8 template_hits:int8 template_misses:int8 statements:int8
  statement_hits:int8 statement_misses:int8`
const laneColumns = `database shard rides:int8 rescues:int8 full:int8 servers:int4 riders:int4`
const workerColumns =
  'pid:int4 version uptime:int8 clients:int4 servers:int4 rss_kb:int8 cpu_ms:int8'

/** By name, lower case, such as `shards`. */
export function ownViews(world: AdminWorld, links: Links): ReadonlyMap<string, View> {
  const { databases } = world
  const perHost = { port: 'same', timeline: 'max', lag_bytes: 'max', lag_ms: 'max' } as const
  return new Map([
    [
      'shards',
      summed(shardColumns, '', 2, () => databases().flatMap(shardRows), {
        port: 'same',
        vnodes: 'same',
      }),
    ],
    ['replicas', summed(replicaColumns, '', 4, () => databases().flatMap(replicaRows), perHost)],
    [
      'moves',
      summed(
        'database move:int8 from to phase vnodes:int4 keys:int4 held_now:int4',
        '',
        5,
        () => databases().flatMap(moveRows),
        { vnodes: 'same', keys: 'same' },
      ),
    ],
    [
      'vnodes',
      anyWorker('database shard vnodes:int4 ranges', '', () => databases().flatMap(vnodeRows)),
    ],
    [
      'keys',
      anyWorker('database key shard', '', () =>
        databases().flatMap(({ options, topology }) =>
          [...topology.pins].map(([key, shard]) => [options.name, key, shard]),
        ),
      ),
    ],
    ['pins', eachWorker('id:int4 database user shard reason', '', () => pinRows(world, links))],
    ['plans', summed(planColumns, '', 1, () => databases().map(planRow))],
    ['lanes', summed(laneColumns, '', 2, () => databases().flatMap(laneRows))],
    ['workers', eachWorker(workerColumns, '', () => [workerRow(world)])],
  ])
}

/** A shard's address is that of its primary now; null while it has none. */
function shardRows(database: Database) {
  const { options, topology } = database
  return options.shards.map(({ id }) => {
    const { primaryAddress, paused } = database.serversOf(id)
    const { idle, leased, opening, waiting } = database.stats(id)
    // A shard that has not joined yet is not in the topology.
    const at = topology.shards.indexOf(id)
    const vnodes = topology.owners.reduce((sum, owner) => sum + (owner === at ? 1 : 0), 0)
    const { host = null, port = null } = primaryAddress ?? {}
    const place = [options.name, id, host, port, vnodes, paused ? 'yes' : 'no']
    return [...place, idle, leased, opening, waiting]
  })
}

function replicaRows(database: Database) {
  return database
    .hosts()
    .map((host) => [
      database.options.name,
      host.shard,
      host.host,
      host.port,
      host.role,
      host.state,
      host.reason,
      host.timeline,
      host.lsn === null ? null : formatLsn(host.lsn),
      host.lagBytes === null ? null : Number(host.lagBytes),
      host.lagMs === null ? null : Math.round(host.lagMs),
      host.idle,
      host.active,
      host.ewmaMs === null ? null : host.ewmaMs.toFixed(2),
      host.reads,
    ])
}

/** What this proxy knows of moves under way; `ringfence rebalance status` knows how far they are. */
function moveRows({ options, topology, gate }: Database) {
  return topology.moves.map(({ id, from, to, phase, set }) => [
    options.name,
    id,
    from,
    to,
    phase,
    set.vnodes.length,
    set.keys.length,
    phase === 'fenced' ? (gate?.heldNow ?? 0) : 0,
  ])
}

function vnodeRows({ options, topology }: Database) {
  if (options.rules === null) return []
  return topology.shards.map((shard, at) => {
    const owned: number[] = []
    for (const [vnode, owner] of topology.owners.entries()) if (owner === at) owned.push(vnode)
    return [options.name, shard, owned.length, formatVnodes(owned)]
  })
}

/** Clients that keep a server between transactions, and why. */
function pinRows(world: AdminWorld, links: Links) {
  return links
    .clients(world)
    .flatMap(({ id, session: { state } }) =>
      [...state.leases]
        .filter(({ pinned }) => pinned !== null)
        .map(({ server, pinned }) => [
          id,
          state.database.options.name,
          state.client.name,
          server.shard,
          pinned,
        ]),
    )
}

function planRow({ options, router, statements }: Database) {
  const { plans } = router
  return [
    options.name,
    plans.size,
    plans.hits,
    plans.misses,
    statements.size,
    statements.hits,
    statements.misses,
  ]
}

/** Statements that share servers: what the lanes have done, and the statements that are on them now. */
function laneRows(database: Database) {
  return database.options.shards.map(({ id }) => {
    const { pools } = database.serversOf(id)
    const { rides, rescues, full } = laneCountsOf(pools)
    const servers = pools.flatMap(({ lane }) => lane.servers)
    const riders = servers.reduce((sum, { riders: on }) => sum + on.length, 0)
    return [database.options.name, id, rides, rescues, full, servers.length, riders]
  })
}

function workerRow({ version, sessions, databases }: AdminWorld) {
  const { user, system } = process.cpuUsage()
  const servers = databases().flatMap(({ pools }) =>
    pools.map(({ connections }) => connections.size),
  )
  return [
    process.pid,
    version,
    Math.floor(process.uptime()),
    sessions.size,
    servers.reduce((sum, count) => sum + count, 0),
    Math.round(process.memoryUsage.rss() / 1024),
    Math.round((user + system) / 1_000),
  ]
}
