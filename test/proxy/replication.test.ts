// Replication connections pass through in session mode: pg_receivewal, pg_basebackup's protocol, logical decoding. What
// the server answers is compared with what it answers directly.
import { afterEach, describe, expect, inject, it } from 'vitest'
import { Client, type ClientConfig } from 'pg'
import {
  codesOf,
  pause,
  present,
  rawClient,
  refusal,
  rowsOf,
  until,
  untilReady,
  value,
  withClient,
} from '../support/clients.ts'
import { frontendMessage, textBytes } from '../support/frontend-bytes.ts'
import { type Stack, type StackOptions, startStack } from '../support/stack.ts'

const [newest] = inject('servers')
let stack: Stack | undefined
afterEach(async () => {
  await stack?.close()
  stack = undefined
})

// As in pg_hba.conf, "all" does not mean physical replication.
const authRules: NonNullable<StackOptions['authRules']> = [
  { type: 'all', database: null, user: null, address: null, method: 'scram', map: null },
  {
    type: 'all',
    database: [{ special: 'replication' }],
    user: null,
    address: null,
    method: 'scram',
    map: null,
  },
]

async function start(database: NonNullable<StackOptions['database']>): Promise<Stack> {
  stack = await startStack(present(newest), { shards: 1, database, authRules })
  return stack
}

/** node-postgres passes the parameter on, though its types do not have it. */
async function replicating(place: ClientConfig, replication: string): Promise<Client> {
  const config = { ...place, replication }
  const client = new Client(config)
  client.on('error', () => undefined)
  await client.connect()
  return client
}

describe('a replication connection', () => {
  it.each(['database', 'true'])(
    'with replication=%s talks to the walsender itself',
    async (kind) => {
      const running = await start({ mode: 'session' })
      const client = await replicating(running.proxy, kind)
      const [through] = (await client.query('IDENTIFY_SYSTEM')).rows
      await client.end()
      const own = await replicating({ connectionString: present(running.shardUrls[0]) }, kind)
      const [direct] = (await own.query('IDENTIFY_SYSTEM')).rows
      await own.end()
      expect(through.systemid).toBe(direct.systemid)
      expect(through.dbname).toBe(direct.dbname)
      expect(running.poolStats().leased).toBe(0)
    },
  )

  it('streams the log both ways until the client has enough', async () => {
    const running = await start({ mode: 'session' })
    const parameters = [['replication', 'true']] as const
    const { connection } = await rawClient(running.proxy, { parameters })
    connection.send(textBytes('Q', 'IDENTIFY_SYSTEM'))
    const [row] = rowsOf(await untilReady(connection))
    connection.send(textBytes('Q', `START_REPLICATION PHYSICAL ${row?.[2] ?? ''}`))
    const next = async () => {
      const arrival = await connection.next(5_000)
      return typeof arrival === 'string' ? arrival : arrival.code
    }
    expect(await next()).toBe('W')
    await withClient(running.direct, (writer) =>
      writer.query('CREATE TABLE logged AS SELECT generate_series(1, 20000) AS a'),
    )
    for (let count = 0; count < 5; count += 1) expect(await next()).toBe('d')
    connection.send(frontendMessage('c'))
    const rest = await untilReady(connection)
    expect(codesOf(rest)).toMatch(/^d*cC+Z$/)
    connection.destroy()
  })

  it('ends with its client, and its server connection with it', async () => {
    const running = await start({ mode: 'session' })
    const client = await replicating(running.proxy, 'database')
    const { rows } = await client.query('SELECT pg_backend_pid() AS pid')
    expect(rows).toHaveLength(1)
    await client.end()
    await withClient(running.proxy, async (other) => {
      await until('the walsender has ended', async () => {
        const sql = 'SELECT count(*) FROM pg_stat_activity WHERE pid = $1'
        return (await value(other, sql, [rows[0].pid])) === '0'
      })
    })
  })

  it('is refused in other modes, and beyond the limit', async () => {
    const running = await start({ mode: 'transaction' })
    const refused = await refusal(replicating(running.proxy, 'database'))
    expect(refused).toMatchObject({ code: '0A000', severity: 'FATAL' })
    expect(refused.hint).toContain('session')
    await running.close()
    const limited = await start({ mode: 'session', replicationConnectionsMax: 1 })
    const first = await replicating(limited.proxy, 'database')
    expect(await refusal(replicating(limited.proxy, 'true'))).toMatchObject({ code: '53300' })
    await first.end()
    await pause(50)
    await until('there is room', async () => {
      const next = await replicating(limited.proxy, 'database').catch(() => null)
      await next?.end()
      return next !== null
    })
  })
})
