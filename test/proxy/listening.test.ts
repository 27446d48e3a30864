// The connection that listens for all clients: it follows what an operator does to the database, and what is sent is told.
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { cancel } from '../support/cancel.ts'
import {
  askServer,
  connected,
  pause,
  present,
  rawClient,
  refusal,
  until,
  untilReady,
  withClient,
} from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import { type Stack, startStack } from '../support/stack.ts'

const servers = present(inject('servers')[0])
const missed = 'notifications may have been missed'

let stack: Stack
let admin: Client
beforeAll(async () => {
  stack = await startStack(servers, { shards: 1, pool: { queryWaitTimeoutMs: 1_000 } })
  admin = await connected({ ...stack.proxy, database: 'ringfence' })
})
afterAll(async () => {
  await admin.end()
  await stack.close()
})

type Ear = { readonly client: Client; readonly heard: string[] }

async function ear(channel: string): Promise<Ear> {
  const client = await connected(stack.proxy)
  const heard: string[] = []
  client.on('notification', ({ payload }) => heard.push(payload ?? ''))
  client.on('notice', ({ message }) => heard.push(message ?? ''))
  await client.query(`LISTEN ${channel}`)
  return { client, heard }
}

const home = () => present(stack.shardUrls[0])
const notify = (channel: string, payload: string) =>
  askServer(home(), `SELECT pg_notify('${channel}', '${payload}')`)
const sessions = () =>
  askServer(
    home(),
    `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`,
  )
const heardBy = ({ heard }: Ear, what: string) => until(what, () => heard.includes(what))

describe('the connection that listens for all', () => {
  it('is opened anew by RECONNECT', async () => {
    const { client, heard } = await ear('renewed')
    const before = await sessions()
    await admin.query('RECONNECT')
    await heardBy({ client, heard }, missed)
    expect(await sessions()).not.toEqual(expect.arrayContaining(before))
    await notify('renewed', 'after')
    await heardBy({ client, heard }, 'after')
    expect(heard).toEqual([missed, 'after'])
    await client.end()
  })

  it('is asked for what was sent before an UNLISTEN', async () => {
    const { client, heard } = await ear('given_up')
    const sender = await connected(stack.proxy)
    const turns = Array.from({ length: 30 }, (_, turn) => String(turn))
    for (const turn of turns) {
      await client.query('LISTEN given_up')
      await sender.query(`NOTIFY given_up, '${turn}'`)
      await client.query(turn === '29' ? 'UNLISTEN *' : 'UNLISTEN given_up')
    }
    expect(heard).toEqual(turns)
    await Promise.all([client.end(), sender.end()])
  })

  it('is not there during PAUSE, and comes back with RESUME', async () => {
    const { client, heard } = await ear('paused')
    await admin.query('PAUSE')
    expect(await sessions()).toEqual([])
    await notify('paused', 'during')
    const second = ear('second')
    const waits = await Promise.race([second.then(() => false), pause(100).then(() => true)])
    expect(waits).toBe(true)
    await admin.query('RESUME')
    await heardBy({ client, heard }, missed)
    await notify('paused', 'after')
    await notify('second', 'after')
    await heardBy({ client, heard }, 'after')
    await heardBy(await second, 'after')
    expect(heard).toEqual([missed, 'after'])
    await client.end()
    await (await second).client.end()
  })

  it('is waited for during PAUSE as long as any server, or until a cancel request', async () => {
    const { connection, cancelKey } = await rawClient(stack.proxy)
    await admin.query('PAUSE')
    try {
      await withClient(stack.proxy, async (client) => {
        expect(await refusal(client.query('LISTEN late'))).toMatchObject({ code: '53300' })
      })
      connection.send(textBytes('Q', 'LISTEN late'))
      await pause(50)
      await cancel(stack.proxy, cancelKey)
      const [error] = await untilReady(connection)
      expect(error?.bytes.toString()).toContain('57014')
      connection.destroy()
    } finally {
      await admin.query('RESUME')
    }
  })

  it('is there for a transaction that PAUSE waits for', async () => {
    await withClient(stack.proxy, async (client) => {
      await client.query('BEGIN')
      await client.query('SELECT 1')
      const paused = admin.query('PAUSE')
      await pause(50)
      await client.query('LISTEN inside')
      await client.query('COMMIT')
      await paused
      expect(await sessions()).toEqual([])
      await admin.query('RESUME')
    })
  })

  it('is nothing that a prepared transaction could ask for', async () => {
    await withClient(stack.proxy, async (client) => {
      await client.query('BEGIN')
      await client.query('LISTEN prepared')
      const refused = await refusal(client.query("PREPARE TRANSACTION 'listens'"))
      expect(refused).toMatchObject({ code: '0A000' })
      await client.query('ROLLBACK')
    })
  })

  it('loses nothing to the questions that the proxy asks its client’s own server', async () => {
    const listens = `CREATE FUNCTION listens() RETURNS void LANGUAGE plpgsql AS
      $$ BEGIN EXECUTE 'LISTEN own'; END $$`
    const quiet = await ear('another')
    const { client, heard } = quiet
    await client.query(listens)
    const sent = Array.from({ length: 30 }, (_, at) => `n${at}`)
    for (const payload of sent) {
      // Behind its reply the server is asked what the function has left.
      await client.query('SELECT listens()')
      await withClient(stack.proxy, (other) => other.query(`NOTIFY own, '${payload}'`))
    }
    await client.query('SELECT 1')
    expect(heard).toEqual(sent)
    await client.end()
  })

  it('is gone with a database that a reload removes', async () => {
    const { client } = await ear('removed')
    await client.query('BEGIN')
    const [database] = stack.options.databases
    const renamed = [{ ...present(database), name: 'renamed' }]
    await stack.instance.configure({ ...stack.options, databases: renamed })
    await client.query('COMMIT').catch(() => undefined)
    await until('its connections are closed', async () => (await sessions()).length === 0)
    await stack.instance.configure(stack.options)
    const again = await ear('removed')
    await notify('removed', 'again')
    await heardBy(again, 'again')
    expect(again.heard).toEqual(['again'])
    await again.client.end()
    await client.end().catch(() => undefined)
  })
})
