// What stands in the way of a PostgreSQL that is to become the first shard of a cluster, and what
// will once there are more. Pure.
import type { DatabaseConfig } from '../config/config.ts'
import type { Relation } from '../router/schema.ts'
import { doubtful, type Verdict, wrong } from './finding.ts'
import type { ForeignKey, ImportFacts } from './import-facts.ts'
import { unsuitable } from './schema-drift.ts'
import type { Login, Probed } from './server-probe.ts'
import { serverVerdicts } from './server-verdict.ts'

type Answered = Extract<Probed, { kind: 'answered' }>

/** Everything at once; an error keeps the cluster from being made, a warning does not. */
export function importVerdicts(
  { facts: server, tables, catalog }: Answered,
  facts: ImportFacts,
  database: DatabaseConfig,
  login: Login,
): readonly Verdict[] {
  const { sharding } = database
  if (sharding === null) return []
  const found: Verdict[] = []
  const localId = catalog?.localId ?? null
  if (localId !== null) {
    const message = `this database is shard "${localId}" of a cluster already`
    found.push(wrong(message, 'use the configuration of that cluster, or name another database'))
  }
  if (!server.canCreateSchema) {
    const message = `role "${login.user}" may not create schema "ringfence" in this database`
    found.push(
      wrong(message, `GRANT CREATE ON DATABASE "${server.databaseName}" TO "${login.user}"`),
    )
  }
  // Moves are for later: a cluster of one shard does without what they need.
  const servers = serverVerdicts(server, 'primary', login, database)
  found.push(...servers.map((verdict) => (isLater(verdict) ? later(verdict) : verdict)))
  found.push(
    ...unsuitable(tables, sharding).map((verdict) =>
      verdict.message.includes('does not exist')
        ? { ...verdict, severity: 'error' as const }
        : verdict,
    ),
    ...rightVerdicts(facts, login),
    ...serverLater(server, facts),
    ...facts.foreignKeys.flatMap((key) => foreignKeyVerdict(key, facts)),
    ...triggerVerdicts(facts),
    ...moveVerdicts(facts),
  )
  if (![...facts.schema.relations.values()].some(({ placement }) => placement === 'sharded')) {
    const message = `no table has a column "${sharding.key}", so nothing would be sharded`
    found.push(wrong(message, 'name another column with --key, or tables with --table-key'))
  }
  return found.toSorted((a, b) => Number(a.severity > b.severity) - Number(a.severity < b.severity))
}

function isLater({ message }: Verdict): boolean {
  return message.startsWith('wal_level')
}

function later(verdict: Verdict): Verdict {
  return { ...verdict, severity: 'warning' }
}

function rightVerdicts({ strangers }: ImportFacts, { user }: Login): Verdict[] {
  const [first, ...others] = strangers
  if (first === undefined) return []
  const more = others.length === 0 ? '' : ` and ${others.length} more tables`
  const owns = `role "${user}" does not own table "${first}"${more}`
  const message = `${owns}: it cannot change their sequences`
  return [wrong(message, 'name the owner, or a superuser, in the URL')]
}

function serverLater(server: Answered['facts'], facts: ImportFacts): Verdict[] {
  const found: Verdict[] = []
  const { preparedTransactionsMax: prepared, connectionsMax } = server
  if (prepared === 0) {
    const raise = `set max_prepared_transactions = ${connectionsMax}`
    const remedy = `${raise} and restart it before you add a shard`
    found.push(doubtful('max_prepared_transactions is 0', remedy))
  }
  if (facts.replicationSlotsMax < 4 || facts.walSendersMax < 4) {
    const { replicationSlotsMax: slots, walSendersMax: senders } = facts
    const message = `max_replication_slots is ${slots}, max_wal_senders ${senders}`
    found.push(doubtful(message, 'a move takes two of each: set both to 10 before you move'))
  }
  if (!facts.canReplicate) {
    const remedy = 'ALTER ROLE … REPLICATION, or a "mover_user" in the file, before you move'
    found.push(doubtful('the role may not replicate, which a move needs', remedy))
  }
  if (facts.extensions.length > 0) {
    const message = `the database uses ${facts.extensions.join(', ')}`
    found.push(doubtful(message, 'every new shard’s server needs these extensions installed'))
  }
  return found
}

/**
 * With one shard every foreign key holds; these are about rows that will lie on different shards.
 */
function foreignKeyVerdict(key: ForeignKey, { schema }: ImportFacts): Verdict[] {
  const from = schema.relations.get(key.from)
  const to = schema.relations.get(key.to)
  if (from === undefined || to === undefined || to.placement === 'reference') return []
  const both = `foreign key "${key.name}" of ${from.placement} table "${key.from}" refers to`
  if (from.placement === 'sharded' && to.placement === 'sharded') {
    return isTied(key, from, to)
      ? []
      : [
          doubtful(
            `${both} "${key.to}" without its shard key: it holds while both rows have the same`,
            `add "${from.key}" to its columns on both sides`,
          ),
        ]
  }
  if (from.placement === 'home' && to.placement === 'home') return []
  const message = `${both} ${to.placement} table "${key.to}", whose rows live on another shard`
  if (to.placement !== 'home') {
    return [wrong(message, 'drop it, or give the table the shard key')]
  }
  const [column] = key.toColumns
  const keyed = key.fromColumns.length === 1 && key.fromColumns[0] === from.key
  const other = keyed ? `, or --table-key ${to.name}=${column ?? ''}` : ''
  return [wrong(message, `--reference ${to.name}${other}`)]
}

function isTied({ fromColumns, toColumns }: ForeignKey, from: Relation, to: Relation): boolean {
  const at = fromColumns.indexOf(from.key ?? '')
  return at >= 0 && toColumns[at] === to.key
}

function triggerVerdicts({ triggers, schema }: ImportFacts): Verdict[] {
  return triggers.flatMap(({ name, table }) => {
    if (schema.relations.get(table)?.placement !== 'reference') return []
    const has = `reference table "${table}" has trigger "${name}"`
    const message = `${has}, which runs on every shard for itself`
    return [doubtful(message, 'see that it computes the same everywhere, or drop it')]
  })
}

function moveVerdicts({ schema }: ImportFacts): Verdict[] {
  return [...schema.relations.values()].flatMap(
    ({ schema: place, name, kind, placement, primaryKey }) => {
      if (placement !== 'sharded' || !/^[rp]$/.test(kind) || (primaryKey ?? []).length > 0)
        return []
      const message = `table "${place}.${name}" has no primary key, so its rows cannot be moved`
      return [doubtful(message, 'give it one before you move virtual nodes')]
    },
  )
}
