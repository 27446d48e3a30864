// What the admin console shows and does: SHOW …, PAUSE, RESUME.
import { pgError } from '../core/errors.ts'
import type { ShardId } from '../core/ids.ts'
import { formatLsn } from '../core/lsn.ts'
import { formatVnodes } from '../core/vnode-ranges.ts'
import type { AdminAction, AdminCommand, AdminView } from './admin.ts'
import type { Database } from './database.ts'
import type { Sessions } from './sessions.ts'

export type AdminSource = {
  readonly version: string
  readonly databases: readonly Database[]
  readonly sessions: Sessions
  /** Gives what was done and what needs a restart; null: there is no configuration to read again. */
  readonly reload: (() => Promise<readonly string[]>) | null
}

/** Commands by their words, lower case, such as `show pools`. */
export function adminViews(source: AdminSource): ReadonlyMap<string, AdminCommand> {
  const commands = new Map<string, AdminCommand>()
  for (const [name, view] of Object.entries(showCommands(source))) {
    commands.set(`show ${name}`, view)
  }
  commands.set('pause', action(source, 'PAUSE', pause))
  commands.set('resume', action(source, 'RESUME', resume))
  commands.set('reload', { kind: 'order', tag: 'RELOAD', run: () => reload(source) })
  commands.set('show help', {
    kind: 'view',
    columns: ['command'],
    rows: () =>
      [...commands].map(([name, { kind }]) => {
        const words = name.toUpperCase()
        return [kind === 'action' ? `${words} <database> [<shard>]` : words]
      }),
  })
  return commands
}

function showCommands({ version, databases, sessions }: AdminSource) {
  return {
    version: view(['version'], () => [[`Ringfence ${version}`]]),
    databases: view(['name', 'shards', 'sharded', 'epoch', 'clients', 'pool_size'], () =>
      databases.map(({ options, shards, topology, clients }) => [
        options.name,
        shards.length,
        options.rules === null ? 'no' : 'yes',
        topology.epoch,
        clients,
        options.pool.size,
      ]),
    ),
    pools: view(poolColumns, () => databases.flatMap(poolRows)),
    shards: view(['database', 'shard', 'host', 'port', 'vnodes', 'paused'], () =>
      databases.flatMap(shardRows),
    ),
    replicas: view(replicaColumns, () => databases.flatMap(replicaRows)),
    moves: view(moveColumns, () => databases.flatMap(moveRows)),
    vnodes: view(['database', 'shard', 'vnodes', 'ranges'], () => databases.flatMap(vnodeRows)),
    pins: view(['database', 'key', 'shard'], () =>
      databases.flatMap(({ options, topology }) =>
        [...topology.pins].map(([key, shard]) => [options.name, key, shard]),
      ),
    ),
    clients: view(['database', 'user', 'state', 'servers', 'pinned'], () =>
      [...sessions].map(({ state, phase }) => [
        state.database.options.name,
        state.client.name,
        phase,
        [...state.leases].map(({ server }) => server.shard).join(', '),
        state.leases.pinReasons.join(', '),
      ]),
    ),
  }
}

function view(columns: AdminView['columns'], rows: AdminView['rows']): AdminView {
  return { kind: 'view', columns, rows }
}

const poolColumns = [
  'database',
  'shard',
  'host',
  'port',
  'user',
  'idle',
  'active',
  'opening',
  'waiting',
]

/** A pool without an address is that of a primary, while there is none. */
function poolRows({ options, pools }: Database) {
  return pools.map(({ shard, target, user, stats }) => [
    options.name,
    shard,
    target?.host ?? null,
    target?.port ?? null,
    user,
    stats.idle,
    stats.leased,
    stats.opening,
    stats.waiting,
  ])
}

/** A shard's address is that of its primary now; null while it has none. */
function shardRows(database: Database) {
  const { options, topology } = database
  return options.shards.map(({ id }) => {
    const { primaryAddress, paused } = database.serversOf(id)
    // A shard that has not joined yet is not in the topology.
    const at = topology.shards.indexOf(id)
    const vnodes = topology.owners.reduce((sum, owner) => sum + (owner === at ? 1 : 0), 0)
    const { host = null, port = null } = primaryAddress ?? {}
    return [options.name, id, host, port, vnodes, paused ? 'yes' : 'no']
  })
}

const moveColumns = ['database', 'move', 'from', 'to', 'phase', 'vnodes', 'keys', 'held_now']

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

const replicaColumns = [
  'database',
  'shard',
  'host',
  'port',
  'role',
  'state',
  'reason',
  'timeline',
  'lsn',
  'lag_bytes',
  'lag_ms',
  'idle',
  'active',
  'ewma_ms',
  'reads',
]

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
      host.lagBytes === null ? null : host.lagBytes.toString(),
      host.lagMs === null ? null : Math.round(host.lagMs),
      host.idle,
      host.active,
      host.ewmaMs === null ? null : host.ewmaMs.toFixed(2),
      host.reads,
    ])
}

type Deed = (database: Database, shard: ShardId | null) => Promise<void>

const pause: Deed = async (database, shard) => database.pause(shard)
const resume: Deed = async (database, shard) => database.resume(shard)

async function reload(source: AdminSource): Promise<readonly string[]> {
  if (source.reload === null) throw pgError('reloadRefused', ['there is no file to read again'])
  try {
    return await source.reload()
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw pgError('reloadRefused', [reason], { cause })
  }
}

/** `<tag> <database> [<shard>]`. @throws PgError 3D000 for a name that the configuration lacks */
function action({ databases }: AdminSource, tag: string, deed: Deed): AdminAction {
  const run = async (name: string, shardName: string | undefined) => {
    const database = databases.find(({ options }) => options.name === name)
    if (database === undefined) throw pgError('adminTargetUnknown', ['database', name])
    if (shardName === undefined) return deed(database, null)
    const shard = database.options.shards.find(({ id }) => id === shardName)
    if (shard === undefined) throw pgError('adminTargetUnknown', ['shard', shardName])
    return deed(database, shard.id)
  }
  return { kind: 'action', tag, run }
}
