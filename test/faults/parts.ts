// The parts of the fault suite, each with a proxy of its own.
import type { TestServers } from '../support/servers.ts'
import { startStack } from '../support/stack.ts'
import { clientTls } from '../support/tls-client.ts'
import { cutClients, playWhole } from './client-cuts.ts'
import { clientsPerProcess, killClients } from './client-kills.ts'
import { conversationSetup } from './conversation.ts'
import { slowLoris, storm } from './crowds.ts'
import { idleCrowd } from './idle-crowd.ts'
import { cutLogins } from './login-cuts.ts'
import { startOwn } from './own-cluster.ts'
import type { Report, Share } from './report.ts'
import { restartUnderLoad } from './restarts.ts'
import { killServers } from './server-kills.ts'
import { cutServers, startRelayed } from './server-cuts.ts'
import { killWorkers } from './worker-kills.ts'

export type Part = (servers: TestServers, share: Share) => Promise<readonly Report[]>

const trust = {
  authRules: [{ database: null, user: null, address: null, method: 'trust' }],
} as const

/** Clients and servers that die within conversations. */
async function cuts(servers: TestServers, share: Share, lanes: number): Promise<Report[]> {
  const name = lanes === 0 ? 'without the fast lane' : 'with the fast lane'
  const pool = { size: 3, laneServersMax: lanes }
  const relayed = await startRelayed(servers, { ...trust, pool, setupSql: conversationSetup })
  try {
    return [
      await playWhole(relayed.stack, name),
      await cutClients(relayed.stack, name, share),
      await cutServers(relayed, name, share),
    ]
  } finally {
    await relayed.stack.close()
    await relayed.relay.close()
  }
}

/** Client processes that are killed within conversations. */
async function clients(servers: TestServers, share: Share, lanes: number): Promise<Report[]> {
  const name = lanes === 0 ? 'without the fast lane' : 'with the fast lane'
  const stack = await startStack(servers, {
    shards: 1,
    ...trust,
    pool: { size: 2 * clientsPerProcess, laneServersMax: lanes },
    setupSql: conversationSetup,
  })
  try {
    return [await killClients(stack, name, share)]
  } finally {
    await stack.close()
  }
}

/** Server processes that are killed within conversations. */
async function kills(servers: TestServers, share: Share, lanes: number): Promise<Report[]> {
  const name = lanes === 0 ? 'without the fast lane' : 'with the fast lane'
  const own = await startOwn(servers.version)
  try {
    const relayed = await startRelayed(own.servers, {
      ...trust,
      pool: { size: 3, laneServersMax: lanes },
      database: { failover: { waitMs: 10_000, probeMs: 1_000 } },
      setupSql: conversationSetup,
    })
    try {
      return [await killServers(relayed, name, share)]
    } finally {
      await relayed.stack.close()
      await relayed.relay.close()
    }
  } finally {
    await own.stop()
  }
}

/** By the name that `run.ts` calls them. */
export const parts = {
  cuts: (servers, share) => cuts(servers, share, 0),
  lane: (servers, share) => cuts(servers, share, 1),
  kills: async (servers, share) => [
    ...(await kills(servers, share, 0)),
    ...(await kills(servers, share, 1)),
  ],
  clients: async (servers, share) => [
    ...(await clients(servers, share, 0)),
    ...(await clients(servers, share, 1)),
  ],
  workers: async (servers, share) => [await killWorkers(servers, share)],
  restarts: async ({ version }) => {
    const own = await startOwn(version)
    try {
      return [
        await restartUnderLoad(own, { rounds: 3, autoPrepare: false }),
        await restartUnderLoad(own, { rounds: 3, autoPrepare: true }),
      ]
    } finally {
      await own.stop()
    }
  },
  idle: async (servers) => [await idleCrowd(servers, 10_000)],
  crowds: async (servers) => {
    const loginTimeoutMs = 5_000
    const stack = await startStack(servers, {
      shards: 1,
      ...trust,
      database: { clientsMax: 12_000 },
      limits: { loginTimeoutMs },
    })
    try {
      return [await slowLoris(stack, { count: 500, loginTimeoutMs }), await storm(stack, 2_000)]
    } finally {
      await stack.close()
    }
  },
  logins: async (servers, share) => {
    const stack = await startStack(servers, { shards: 1, tls: clientTls({ mode: 'prefer' }) })
    try {
      return [await cutLogins(stack, share)]
    } finally {
      await stack.close()
    }
  },
} as const satisfies Readonly<Record<string, Part>>
