// What the admin console's SHOW commands show.
import type { AdminView } from './admin.ts'
import type { Database } from './database.ts'
import type { Sessions } from './sessions.ts'

export type AdminSource = {
  readonly version: string
  readonly databases: readonly Database[]
  readonly sessions: Sessions
}

/** SHOW commands by name, lower case. */
export function adminViews(source: AdminSource): ReadonlyMap<string, AdminView> {
  const views = new Map<string, AdminView>()
  views.set('version', { columns: ['version'], rows: () => [[`Ringfence ${source.version}`]] })
  views.set('databases', {
    columns: ['name', 'shards', 'sharded', 'epoch', 'clients', 'pool_size'],
    rows: () =>
      source.databases.map(({ options, shards, topology, clients }) => [
        options.name,
        shards.length,
        options.rules === null ? 'no' : 'yes',
        topology.epoch,
        clients,
        options.pool.size,
      ]),
  })
  views.set('pools', {
    columns: ['database', 'shard', 'user', 'idle', 'active', 'opening', 'waiting'],
    rows: () =>
      source.databases.flatMap((database) =>
        [...database.pools].map(({ shard, user, stats }) => [
          database.options.name,
          shard,
          user,
          stats.idle,
          stats.leased,
          stats.opening,
          stats.waiting,
        ]),
      ),
  })
  views.set('shards', {
    columns: ['database', 'shard', 'host', 'port', 'vnodes'],
    rows: () =>
      source.databases.flatMap(({ options, topology }) =>
        options.shards.map(({ id, host, port }, at) => [
          options.name,
          id,
          host,
          port,
          topology.owners.reduce((sum, owner) => sum + (owner === at ? 1 : 0), 0),
        ]),
      ),
  })
  views.set('clients', {
    columns: ['database', 'user', 'state', 'servers', 'pinned'],
    rows: () =>
      [...source.sessions].map(({ state, phase }) => [
        state.database.options.name,
        state.client.name,
        phase,
        [...state.leases].map(({ server }) => server.shard).join(', '),
        state.leases.pinReasons.join(', '),
      ]),
  })
  views.set('help', {
    columns: ['command'],
    rows: () => [...views.keys()].map((name) => [`SHOW ${name.toUpperCase()}`]),
  })
  return views
}
