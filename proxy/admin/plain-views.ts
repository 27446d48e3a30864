// Tables of PgBouncer that say little here but are asked for all the same: state, version, memory, settings; names and
// peers, of which this proxy has none.
import type { Rows } from '../fleet.ts'
import type { Suspension } from './actions.ts'
import { anyWorker, summed, type View } from './view.ts'
import type { AdminWorld } from './world.ts'

/** What PgBouncer calls the version whose tables these are. */
const pgbouncerVersion = 'PgBouncer 1.25.0'
const kibibyte = 1024

/** By name, lower case. */
export function plainViews(world: AdminWorld, suspension: Suspension): ReadonlyMap<string, View> {
  const none = (columns: string): View => anyWorker(columns, '', () => [])
  return new Map([
    [
      'config',
      anyWorker('key value default changeable', '', () => [
        ...pgbouncerSettings(world),
        ...world.settings(),
      ]),
    ],
    ['mem', summed('name size:int4 used:int4 free:int4 memtotal:int4', '', 2, () => memoryRows())],
    ['state', anyWorker('key value', '', () => stateRows(world, suspension))],
    ['version', anyWorker('version', 'proxy', () => [versionRow(world)])],
    ['peers', none('peer_id:int4 host port:int4 pool_size:int4')],
    [
      'peer_pools',
      none(`peer_id:int4 cl_active_cancel_req:int4 cl_waiting_cancel_req:int4 sv_active_cancel:int4
        sv_login:int4`),
    ],
    ['dns_hosts', none('hostname ttl:int8 addrs')],
    ['dns_zones', none('zonename serial:int8 count:int4')],
  ])
}

/** For tools that look for PgBouncer's number; both names are there. */
function versionRow({ version }: AdminWorld): Rows[number] {
  return [`${pgbouncerVersion} (Ringfence ${version})`, `Ringfence ${version}`]
}

/** Settings that dashboards read, under PgBouncer's names: of all databases together. */
function pgbouncerSettings({ databases, shared }: AdminWorld): Rows {
  const all = databases().map(({ options }) => options)
  const { clientsMax, serversPerUserMax, clientsPerUserMax } = shared()
  const clients = clientsMax || all.reduce((sum, { clientsMax: max }) => sum + max, 0)
  const [first] = all
  const seconds = (ms: number | undefined) => String(Math.round((ms ?? 0) / 1_000))
  return [
    ['default_pool_size', String(first?.pool.size ?? 0), '20', 'no'],
    ['max_client_conn', String(clients), '100', 'no'],
    ['max_db_client_connections', String(first?.clientsMax ?? 0), '0', 'no'],
    ['max_db_connections', String(first?.serverConnectionsMax ?? 0), '0', 'no'],
    ['max_user_client_connections', String(clientsPerUserMax), '0', 'no'],
    ['max_user_connections', String(serversPerUserMax), '0', 'no'],
    ['min_pool_size', String(first?.pool.min ?? 0), '0', 'no'],
    ['pool_mode', first?.mode ?? 'transaction', 'session', 'no'],
    ['query_wait_timeout', seconds(first?.pool.queryWaitTimeoutMs), '120', 'no'],
    ['reserve_pool_size', String(first?.pool.reserve ?? 0), '0', 'no'],
    ['server_idle_timeout', seconds(first?.pool.serverIdleTimeoutMs), '600', 'no'],
    ['server_lifetime', seconds(first?.pool.serverLifetimeMs), '3600', 'no'],
  ]
}

function stateRows({ databases }: AdminWorld, { suspended }: Suspension): Rows {
  const paused = databases().every((database) => database.serversOf(database.home).paused)
  const word = (yes: boolean) => (yes ? 'yes' : 'no')
  return [
    ['active', word(!paused && !suspended)],
    ['paused', word(paused)],
    ['suspended', word(suspended)],
  ]
}

/** In KiB: a page of memory would be as arbitrary, and its number does not fit an int4 so soon. */
function memoryRows(): Rows {
  const { rss, heapTotal, heapUsed, external, arrayBuffers } = process.memoryUsage()
  const row = (name: string, used: number, total: number): Rows[number] => [
    name,
    kibibyte,
    Math.round(used / kibibyte),
    Math.round((total - used) / kibibyte),
    total,
  ]
  return [
    row('rss', rss, rss),
    row('heap', heapUsed, heapTotal),
    row('external', external, external),
    row('array_buffers', arrayBuffers, arrayBuffers),
  ]
}
