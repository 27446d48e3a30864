// What is wrong with servers, given what they answered. Pure: facts in, verdicts out.
import type { DatabaseConfig } from '../config/config.ts'
import { doubtful, wrong, type Verdict } from './finding.ts'
import type { CatalogFacts, Login, NotAnswered, ServerFacts } from './server-probe.ts'

/** Oldest server that the proxy works with. */
const versionMin = 14

/** Why a server could not be asked. */
export function failureVerdict(failed: NotAnswered, login: Login): Verdict {
  if (failed.kind === 'unasked') {
    const message = 'could not be asked: no server_user, and no user with a password is listed'
    return doubtful(message, 'add "server_user: { name: …, password: … }" to have it checked')
  }
  if (failed.kind === 'unreachable') {
    const remedy = 'start the server, or correct its host and port; a firewall may be in between'
    return wrong(`could not connect: ${failed.reason}`, remedy)
  }
  const remedy = refusalRemedies.get(failed.sqlstate) ?? 'see the server’s log'
  return wrong(`login as "${login.user}" was refused: ${failed.reason}`, remedy)
}

/** Settings and rights that every server needs. */
export function serverVerdicts(
  facts: ServerFacts,
  role: 'primary' | 'replica',
  login: Login,
  database: DatabaseConfig,
): Verdict[] {
  const version = majorOf(facts)
  const found: Verdict[] = []
  if (version < versionMin) {
    const remedy = `upgrade the server to PostgreSQL ${versionMin} or later`
    found.push(wrong(`PostgreSQL ${version} is too old`, remedy))
  }
  if (role === 'primary' && facts.inRecovery) {
    const remedy = 'name its primary here, or promote it with pg_promote()'
    found.push(wrong('is a replica (in recovery), so nothing can be written to it', remedy))
  }
  if (role === 'replica' && !facts.inRecovery) {
    const remedy = 'name a streaming replica, or remove it from "replicas"'
    found.push(wrong('is not a replica: it is not in recovery', remedy))
  }
  if (role === 'primary' && !facts.inRecovery && database.sharding !== null) {
    found.push(...shardVerdicts(facts, login, database))
  }
  return found
}

function shardVerdicts(facts: ServerFacts, login: Login, database: DatabaseConfig): Verdict[] {
  const found: Verdict[] = []
  const { walLevel, preparedTransactionsMax: prepared, connectionsMax } = facts
  if (walLevel !== 'logical') {
    const remedy = 'set wal_level = logical and restart the server'
    found.push(wrong(`wal_level is ${walLevel}: virtual nodes cannot be moved`, remedy))
  }
  const prepares = database.shards.length > 1 && database.sharding?.crossShardWrites === 'two_phase'
  const raise = `set max_prepared_transactions = ${connectionsMax} and restart the server`
  if (prepares && prepared === 0) {
    const message = 'max_prepared_transactions is 0: DDL and reference tables cannot be written'
    found.push(wrong(message, `${raise}, or choose cross_shard_writes: refuse`))
  } else if (prepares && prepared < connectionsMax) {
    const message = `max_prepared_transactions (${prepared}) is below max_connections (${connectionsMax})`
    found.push(doubtful(message, raise))
  }
  const { user } = login
  if (!facts.canSeePrepared) {
    const remedy = `GRANT SELECT ON pg_prepared_xacts TO "${user}"`
    found.push(wrong(`role "${user}" may not see pg_prepared_xacts`, remedy))
  }
  if (facts.canCreateInPublic === false) {
    const remedy = `GRANT CREATE ON SCHEMA public TO "${user}", or give it a schema of its own`
    found.push(doubtful(`role "${user}" may not create tables in schema "public"`, remedy))
  }
  return found
}

/** The catalog on one shard. */
export function catalogVerdicts(
  catalog: CatalogFacts,
  facts: ServerFacts,
  login: Login,
  shard: { readonly id: string; readonly isHome: boolean },
  { sharding, shards }: DatabaseConfig,
): Verdict[] {
  const { missing, conflict, topology, shardIds, localId } = catalog
  if (conflict !== null) return [wrong(conflict.message.trim(), conflict.hint ?? runInit)]
  const found: Verdict[] = []
  if (missing.length > 0) {
    const state = localId === null ? 'schema "ringfence" is missing' : 'schema "ringfence" is older'
    found.push(wrong(`${state}: it lacks ${missing.join(', ')}`, runInit))
    if (!facts.canCreateSchema) {
      const message = `role "${login.user}" may not create schema "ringfence" in this database`
      found.push(
        wrong(message, `GRANT CREATE ON DATABASE "${facts.databaseName}" TO "${login.user}"`),
      )
    }
  }
  if (localId !== null && localId !== shard.id) {
    const message = `this database is registered as shard "${localId}", not as "${shard.id}"`
    found.push(wrong(message, 'correct the id or the URL: rows would be looked for elsewhere'))
  }
  if (!shard.isHome || topology === null) return found
  if (topology.vnodeCount !== sharding?.vnodeCount) {
    const message = `the cluster has ${topology.vnodeCount} virtual nodes, the file ${sharding?.vnodeCount}`
    found.push(wrong(message, `put sharding.vnodes back to ${topology.vnodeCount}`))
  }
  if (topology.keyType !== sharding?.keyType) {
    const message = `the cluster's key is of type ${topology.keyType}, the file's ${sharding?.keyType}`
    found.push(wrong(message, `put sharding.key_type back to ${topology.keyType}`))
  }
  const ids = shards.map(({ id }) => id)
  for (const id of ids.filter((id) => shardIds?.includes(id) === false)) {
    const remedy = `run "ringfence shard add ${id}"`
    found.push(wrong(`shard "${id}" does not belong to the cluster yet`, remedy))
  }
  for (const id of shardIds?.filter((id) => !ids.includes(id)) ?? []) {
    const message = `shard "${id}" of the catalog is not in the file`
    found.push(wrong(message, 'put it back; a shard is removed once nothing lives on it'))
  }
  return found
}

/** A failover has made a server the primary that the file lists as a replica. */
export const promotedVerdict: Verdict = doubtful(
  'is the primary now, though the file lists it as a replica',
  'exchange the two in the file when you next change it; the proxy follows the primary by itself',
)

/** A replica that follows another primary would give another shard's rows. */
export function replicaVerdicts(replica: ServerFacts, primary: ServerFacts): Verdict[] {
  if (replica.systemIdentifier === primary.systemIdentifier) return []
  const message = 'is no replica of this primary: their system identifiers differ'
  return [wrong(message, 'correct the URL, or build the replica anew from the primary')]
}

/** A shard's primary beside those of the shards before it. */
export function twinVerdicts(
  earlier: readonly { readonly id: string; readonly facts: ServerFacts }[],
  facts: ServerFacts,
): Verdict[] {
  const [first] = earlier
  if (first === undefined) return []
  const found: Verdict[] = []
  const twin = earlier.find(
    (other) =>
      other.facts.systemIdentifier === facts.systemIdentifier &&
      other.facts.startedAt === facts.startedAt,
  )
  if (twin !== undefined) {
    found.push(
      twin.facts.databaseOid === facts.databaseOid
        ? wrong(`is the same database as shard "${twin.id}"`, 'name another server or database')
        : doubtful(
            `is on the same server as shard "${twin.id}"`,
            'give every shard its own server',
          ),
    )
  }
  const [older, newer] = [majorOf(first.facts), majorOf(facts)]
  if (older !== newer) {
    const message = `PostgreSQL ${newer} differs from ${older} on shard "${first.id}"`
    found.push(wrong(message, 'run one major version on all shards'))
  }
  return found
}

function majorOf({ versionNumber }: ServerFacts): number {
  return Math.floor(versionNumber / 10_000)
}

const runInit = 'run "ringfence init"'
const refusalRemedies = new Map([
  ['28P01', 'correct the password: server_user, the URL, or the client’s own'],
  ['28000', 'let the role log in from here: pg_hba.conf, ALTER ROLE … LOGIN'],
  ['3D000', 'create the database, or correct the URL’s end'],
  ['42501', 'GRANT CONNECT ON DATABASE … to the role'],
  ['53300', 'raise max_connections, or close other sessions'],
  ['57P03', 'wait until the server has started'],
])
