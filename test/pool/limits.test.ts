// Limits of connections: clients of the proxy and of one user, servers of one user and of one database, a reserve for who
// has waited, a minimum that stays, a server that refuses logins.
import { afterEach, describe, expect, inject, it } from 'vitest'
import { superuser } from '../../demo/roles.ts'
import {
  askServer,
  connected,
  pause,
  present,
  refusal,
  until,
  value,
  withClient,
  withClients,
} from '../support/clients.ts'
import { type Stack, type StackOptions, startStack } from '../support/stack.ts'
import { noLimits } from './user-limits.ts'

const [newest] = inject('servers')
let stack: Stack | undefined
afterEach(async () => {
  await stack?.close()
  stack = undefined
})

async function start(options: Partial<StackOptions>): Promise<Stack> {
  stack = await startStack(present(newest), { shards: 1, ...options })
  return stack
}

async function refusedThenFree(running: Stack, count: number): Promise<unknown> {
  let refused: unknown = null
  await withClients(running.proxy, count, async () => {
    refused = await refusal(connected(running.proxy))
  })
  await until('there is room again', async () => {
    const client = await connected(running.proxy).catch(() => null)
    await client?.end()
    return client !== null
  })
  return refused
}

describe('client connections', () => {
  it('of the whole proxy are limited by max_client_conn', async () => {
    const running = await start({ shared: { clientsMax: 3 } })
    expect(await refusedThenFree(running, 3)).toMatchObject({ code: '53300', severity: 'FATAL' })
  })

  it('are not counted any more when their login was given up while a server was waited for', async () => {
    const running = await start({
      shared: { clientsMax: 3 },
      pool: { size: 1, queryWaitTimeoutMs: 20_000 },
      limits: { loginTimeoutMs: 300 },
    })
    await withClient(running.proxy, async (holder) => {
      await holder.query('BEGIN')
      await holder.query('SELECT 1')
      const asking = (options: string) => refusal(connected({ ...running.proxy, options }))
      const refused = await Promise.all([asking('-c work_mem=1MB'), asking('-c work_mem=2MB')])
      expect(refused).toMatchObject([{ code: '08006' }, { code: '08006' }])
      await until('there is room again', async () => {
        const client = await connected(running.proxy).catch(() => null)
        await client?.end()
        return client !== null
      })
    })
    const [database] = running.instance.databases.values()
    await until('nobody is counted', () => present(database).clients === 0)
  })

  it('of one user are limited over all databases, by a limit of his own if he has one', async () => {
    const users = new Map([[superuser, { ...noLimits, clientConnectionsMax: 2 }]])
    const running = await start({ shared: { clientsPerUserMax: 50, users } })
    expect(await refusedThenFree(running, 2)).toMatchObject({
      code: '53300',
      message: `too many connections for user "${superuser}"`,
    })
  })
})

/** `count` clients that each hold a server for `ms`; gives the most servers that there were. */
async function crowd(running: Stack, count: number, ms: number): Promise<number> {
  let most = 0
  const watch = setInterval(() => {
    const { idle, leased } = running.poolStats()
    most = Math.max(most, idle + leased)
  }, 2)
  await withClients(running.proxy, count, async (clients) => {
    await Promise.all(clients.map((client) => client.query('SELECT pg_sleep($1)', [ms / 1_000])))
  })
  clearInterval(watch)
  return most
}

describe('server connections', () => {
  it('of one user are limited over his pools', async () => {
    const users = new Map([[superuser, { ...noLimits, serverConnectionsMax: 2 }]])
    const running = await start({ shared: { users } })
    expect(await crowd(running, 6, 50)).toBe(2)
  })

  it('of a database are limited, whoever its users are', async () => {
    const running = await start({ database: { serverConnectionsMax: 3 } })
    expect(await crowd(running, 8, 50)).toBe(3)
  })

  it('are more while somebody has waited for reserve_timeout, and fewer again later', async () => {
    const running = await start({ pool: { size: 1, reserve: 1, reserveTimeoutMs: 200 } })
    expect(await crowd(running, 2, 50)).toBe(1)
    expect(await crowd(running, 2, 900)).toBe(2)
    await until('the reserve is closed', () => running.poolStats().idle === 1)
  })

  it('stay open up to the minimum, though nobody needs them', async () => {
    const running = await start({ pool: { size: 5, min: 2, serverIdleTimeoutMs: 50 } })
    await crowd(running, 5, 100)
    await until('two are left', () => running.poolStats().idle === 2)
    await pause(1_200)
    expect(running.poolStats().idle).toBe(2)
    // One that is lost is replaced.
    await askServer(
      present(running.shardUrls[0]),
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'`,
    )
    await until('all are lost', () => running.poolStats().idle === 0)
    await until('two are there again', () => running.poolStats().idle === 2)
  })

  it('end one after the other, not all at once, though they were opened together', async () => {
    const running = await start({ pool: { size: 8, serverLifetimeMs: 4_000 } })
    await crowd(running, 8, 100)
    const pids = await askServer(
      present(running.shardUrls[0]),
      `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`,
    )
    expect(pids.length).toBeGreaterThanOrEqual(8)
    const lives = present(running.instance.databases.values().next().value).pools.flatMap(
      ({ connections }) => [...connections].map((each) => each.expiresAtMs - each.connectedAtMs),
    )
    const [shortest, longest] = [Math.min(...lives), Math.max(...lives)]
    expect(shortest).toBeGreaterThan(3_500)
    expect(longest).toBeLessThan(4_500)
    expect(longest - shortest).toBeGreaterThan(50)
  })
})

describe('a server that refuses the login', () => {
  it('is tried less and less often, and used again once it accepts it', async () => {
    const running = await start({ pool: { loginRetryMs: 2_000 } })
    const database = running.direct.database
    const url = present(running.shardUrls[0])
    const own = new URL(url).pathname.slice(1)
    const admin = url.replace(/\/[^/]*$/, '/postgres')
    const allow = (on: boolean) =>
      askServer(admin, `ALTER DATABASE "${own}" ALLOW_CONNECTIONS ${String(on)}`)
    await allow(false)
    expect(database).not.toBe(own)
    const first = await refusal(connected(running.proxy))
    expect(first.message).toContain('not currently accepting connections')
    await allow(true)
    await until('it is tried again', async () => {
      const client = await connected(running.proxy).catch(() => null)
      const answer = client === null ? null : await value(client, 'SELECT 1')
      await client?.end()
      return answer === '1'
    })
  })
})
