// The proxy and the plain PostgreSQL of the leak checker, and what it has to know of both.
import { connected, askServer, present } from '../../support/clients.ts'
import type { TestServers } from '../../support/servers.ts'
import type { ServerConnection } from '../../../pool/server-connection.ts'
import { startStack } from '../../support/stack.ts'
import type { Oids } from './command.ts'
import { calledFunctions, setupSql } from './setup.ts'
import type { Mode } from './step.ts'
import type { Place } from './twin.ts'

export type LeakStack = {
  readonly pooled: Place
  readonly plain: Place
  /** Superuser URLs of the shards behind the proxy. */
  readonly urls: readonly string[]
  /** All server connections of the proxy. */
  connections(): readonly ServerConnection[]
  /** Processes that work for the client that the proxy has given this number. */
  processesOf(client: number): readonly number[]
  /** Who has servers now, and why. */
  holders(): string
  close(): Promise<void>
}

type Options = {
  readonly servers: TestServers
  readonly mode: Mode
  readonly poolSize: number
}

const laneServersMax = 2
// Below the time that a client waits for its answer.
const queryWaitTimeoutMs = 15_000

export async function startLeakStack({ servers, mode, poolSize }: Options): Promise<LeakStack> {
  const stack = await startStack(servers, {
    shards: 1,
    pool: { size: poolSize, laneServersMax, queryWaitTimeoutMs },
    setupSql,
    database: { mode },
  })
  for (const url of stack.shardUrls) {
    const role = 'DO $$ BEGIN CREATE ROLE leaks_role; EXCEPTION WHEN OTHERS THEN NULL; END $$'
    await askServer(url, role)
  }
  const [database] = stack.instance.databases.values()
  return {
    pooled: { endpoint: stack.proxy, oids: await oidsAt(present(stack.shardUrls[0])) },
    plain: { endpoint: stack.direct, oids: await oidsAt(urlOf(stack.direct)) },
    urls: stack.shardUrls,
    connections: () => (database?.pools ?? []).flatMap((pool) => [...pool.connections]),
    processesOf: (client) => {
      const session = stack.instance.sessions.find(client)
      return (session?.state.leases.working ?? []).map(({ server }) => server.processId)
    },
    holders: () =>
      [...stack.instance.sessions]
        .filter(({ state }) => !state.leases.isEmpty)
        .map(({ processId, state: { leases, transaction }, phase }) => {
          const pins = leases.pinReasons.join(', ')
          return `${processId}: ${phase}, ${transaction === null ? 'I' : 'T'}, ${pins}`
        })
        .join('; '),
    close: () => stack.close(),
  }
}

function urlOf(place: Place['endpoint']): string {
  const user = `${encodeURIComponent(place.user)}:${encodeURIComponent(place.password)}`
  return `postgres://${user}@${place.host}:${place.port}/${encodeURIComponent(place.database)}`
}

async function oidsAt(url: string): Promise<Oids> {
  const client = await connected({ connectionString: url })
  try {
    const { rows } = await client.query<{ proname: string; oid: number }>(
      'SELECT proname, oid FROM pg_catalog.pg_proc WHERE proname = ANY ($1)',
      [calledFunctions],
    )
    return new Map(rows.map(({ proname, oid }) => [proname, oid]))
  } finally {
    await client.end()
  }
}
