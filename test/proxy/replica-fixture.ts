// What tests of reads on replicas share: functions that tell which server ran them, the counters of a proxy,
// and further proxies before the same servers with settings of their own.
import { Client, type ClientConfig } from 'pg'
import { systemClock } from '../../core/clock.ts'
import { createLog } from '../../core/log.ts'
import { demoRole } from '../../demo/roles.ts'
import type { DatabaseOptions } from '../../proxy/database-options.ts'
import { Proxy, type ProxyOptions } from '../../proxy/proxy.ts'
import { present, until } from '../support/clients.ts'
import type { ReplicatedShard } from '../support/replicated-shard.ts'
import type { ReplicatedStack } from '../support/replicated-stack.ts'
import type { Place } from '../support/stack.ts'

const primaryName = 's1-a'
/** The other hosts of the first shard, as `served_by()` gives them. */
export const replicaNames = ['s1-b', 's1-c']

/**
 * For unsharded databases. `served_by()`: name of the host that runs it, `in_force(setting)`: a setting there. Both
 * are STABLE, so that they may run on any of them.
 */
export const tellingSql = `
CREATE FUNCTION served_by() RETURNS text STABLE LANGUAGE sql
  AS 'SELECT pg_catalog.current_setting(''cluster_name'')';

CREATE FUNCTION in_force(setting text) RETURNS text STABLE LANGUAGE sql
  AS 'SELECT pg_catalog.current_setting($1)';
`

/** Things to read in an unsharded database: what replicas have, and what they have not. */
export const readsSetupSql = `${tellingSql}
CREATE TABLE notes (id integer PRIMARY KEY, body text)

INSERT INTO notes SELECT n, 'note ' || n FROM generate_series(1, 1000) AS n

CREATE UNLOGGED TABLE scratch (id integer)

CREATE VIEW scratched AS SELECT id FROM scratch

CREATE VIEW noted AS SELECT id, served_by() AS host FROM notes

CREATE SEQUENCE tickets

CREATE FUNCTION touch() RETURNS text VOLATILE LANGUAGE sql AS 'SELECT served_by()'

CREATE FUNCTION peek() RETURNS text VOLATILE LANGUAGE sql AS 'SELECT served_by()'

CREATE FUNCTION quiet() RETURNS text STABLE LANGUAGE sql AS 'SELECT served_by()'

CREATE SCHEMA other

CREATE TABLE other.notes AS SELECT 7 AS id, 'other' AS body
`

/** The only shard, or the first one. */
export const firstShard = (stack: ReplicatedStack): ReplicatedShard => present(stack.shards[0])

/** `replica` for the name of a replica's host. */
export function roleOf(name: string | null): string | null {
  if (name === null || name === primaryName) return name === null ? null : 'primary'
  return replicaNames.includes(name) ? 'replica' : name
}

/** A proxy of this process that was started beside those of the stack. */
export type OtherProxy = { readonly instance: Proxy; readonly place: Place }

type Variant = {
  readonly database?: Partial<DatabaseOptions>
  readonly reads?: Partial<DatabaseOptions['reads']>
  readonly proxy?: Partial<ProxyOptions>
}

/** A proxy before the stack's servers whose settings differ from those of the stack's first. */
export async function startOther(stack: ReplicatedStack, variant: Variant): Promise<OtherProxy> {
  const options = databaseOptions(stack)
  const reads = { ...options.reads, ...variant.reads }
  const instance = await Proxy.start({
    version: 'test',
    listen: { host: '127.0.0.1', port: 0 },
    http: null,
    users: [
      {
        name: demoRole.name,
        secret: { kind: 'password', password: demoRole.password },
        admin: true,
      },
    ],
    authRules: [{ database: null, user: null, address: null, method: 'scram' }],
    databases: [{ ...options, reads, ...variant.database }],
    redis: null,
    tokenKey: null,
    limits: {
      frameBytesMax: 256 * 1024 * 1024,
      frameBytesBeforeLoginMax: 16 * 1024,
      loginTimeoutMs: 10_000,
      connectTimeoutMs: 2_000,
    },
    clock: systemClock,
    log: createLog('error'),
    ...variant.proxy,
  })
  const { name: user, password } = demoRole
  const database = variant.database?.name ?? demoRole.database
  return {
    instance,
    place: { host: '127.0.0.1', port: instance.port, user, password, database },
  }
}

/** Options of the stack's database as its first proxy has them. */
export function databaseOptions(stack: ReplicatedStack): DatabaseOptions {
  return present(stack.proxy(0).instance?.databases.get(demoRole.database)).options
}

/** Reads that a proxy has sent to servers so far; on primaries those that a replica might have served. */
export type Reads = { readonly primary: number; readonly replica: number }

/** Counters of all shards together. */
function readsOf(instance: Proxy | null): Reads {
  const sums = { primary: 0, replica: 0 }
  for (const { role, reads } of present(instance?.databases.values().next().value).hosts()) {
    if (role !== null) sums[role] += reads
  }
  return sums
}

/** Reads that `work` has caused. */
export async function readsDuring(
  instance: Proxy | null,
  work: () => Promise<unknown>,
): Promise<Reads> {
  const before = readsOf(instance)
  await work()
  const after = readsOf(instance)
  return { primary: after.primary - before.primary, replica: after.replica - before.replica }
}

/** Waits until each replica may be read from: at the start, and after what tests do to them. */
export async function untilReadable(instance: Proxy | null, replicas: number): Promise<void> {
  const database = present(instance?.databases.values().next().value)
  await until('replicas can be read from', () =>
    database.shards.every((shard) => database.serversOf(shard).readable().length === replicas),
  )
}

/** A connected client and the WARNINGs that it was sent, in order. */
export async function noticing(
  place: ClientConfig,
): Promise<{ readonly client: Client; readonly warnings: string[] }> {
  const client = new Client(place)
  const warnings: string[] = []
  client.on('error', () => undefined)
  client.on('notice', ({ severity, code, message }) => {
    if (severity === 'WARNING') warnings.push(`${code} ${message}`)
  })
  await client.connect()
  return { client, warnings }
}
