// Stopping in order: nobody new gets in, transactions may end, everybody is told why it is over.
import type { Client } from 'pg'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import {
  askServer,
  connected,
  errorFields,
  present,
  refusal,
  until,
  untilClosed,
  value,
} from '../support/clients.ts'
import { startupBytes } from '../support/frontend-bytes.ts'
import { RawConnection } from '../support/raw-connection.ts'
import { type Stack, startStack } from '../support/stack.ts'

const servers = present(inject('servers')[0])

let stack: Stack
beforeEach(async () => {
  stack = await startStack(servers, { shards: 1, pool: { size: 1 }, http: true })
})
afterEach(() => stack.close())

/** A client, and the error that ends its connection. */
async function client(): Promise<{ client: Client; end: Promise<unknown> }> {
  const own = await connected(stack.proxy)
  return { client: own, end: new Promise((resolve) => own.once('error', resolve)) }
}

const told = { code: '57P01', severity: 'FATAL' }

describe('a proxy that drains', () => {
  it('closes clients outside a transaction at once, and tells them so', async () => {
    const idle = await client()
    const begun = await client()
    await begun.client.query('BEGIN')
    const pinned = await client()
    await pinned.client.query('CREATE TEMP TABLE mine AS SELECT 1')
    const drained = stack.instance.drain(20_000)
    expect(await idle.end).toMatchObject(told)
    expect(await pinned.end).toMatchObject(told)
    await begun.client.query('COMMIT')
    expect(await begun.end).toMatchObject(told)
    await drained
  })

  it('lets transactions and those who wait behind them end first', async () => {
    const holder = await client()
    const waiter = await client()
    await holder.client.query('CREATE TABLE kept (id int)')
    await holder.client.query('BEGIN')
    await holder.client.query('INSERT INTO kept VALUES (1)')
    const waiting = value(waiter.client, 'SELECT 7')
    await until('it waits', () => stack.poolStats().waiting === 1)
    const drained = stack.instance.drain(20_000)
    expect(await value(holder.client, 'SELECT count(*) FROM kept')).toBe('1')
    await holder.client.query('COMMIT')
    expect(await holder.end).toMatchObject(told)
    expect(await waiting).toBe('7')
    expect(await waiter.end).toMatchObject(told)
    await drained
    const kept = await askServer(stack.shardUrls[0] ?? '', 'SELECT count(*) FROM kept')
    expect(kept).toEqual(['1'])
  })

  it('ends what is still open at the deadline, and rolls it back', async () => {
    const holder = await client()
    await holder.client.query('CREATE TABLE kept (id int)')
    await holder.client.query('BEGIN')
    await holder.client.query('INSERT INTO kept VALUES (1)')
    await stack.instance.drain(200)
    expect(await holder.end).toMatchObject(told)
    const url = stack.shardUrls[0] ?? ''
    expect(await askServer(url, 'SELECT count(*) FROM kept')).toEqual(['0'])
    // Waits for as long as the transaction has its lock.
    await askServer(url, 'TRUNCATE kept')
  })

  it('lets nobody in any more and is not ready', async () => {
    const holder = await client()
    await holder.client.query('BEGIN')
    await holder.client.query('SELECT 1')
    const early = await RawConnection.open(stack.proxy)
    const drained = stack.instance.drain(20_000)
    early.send(
      startupBytes(0, [
        ['user', stack.proxy.user],
        ['database', stack.proxy.database],
      ]),
    )
    const { message } = await refusal(connected(stack.proxy))
    expect(message).toContain('ECONNREFUSED')
    const ready = await fetch(`http://127.0.0.1:${stack.instance.httpPort}/readyz`)
    expect(ready.status).toBe(503)
    expect(await ready.text()).toContain('shutting down')
    await holder.client.query('COMMIT')
    await drained
    expect(errorFields(await untilClosed(early))['C'] ?? 'closed').toMatch(/^(?:57P03|closed)$/)
  })
})
