// Proxies on the list, as they come, are killed, and come again under the same address.
import { afterEach, describe, expect, inject, it } from 'vitest'
import { randomUUID } from 'node:crypto'
import { initialise } from '../../catalog/migrate.ts'
import { beat, listProxies, registerProxy, silentMs } from '../../catalog/proxy-registry.ts'
import { epoch } from '../../core/ids.ts'
import { type CatalogFixture, openFixture, rules } from './fixture.ts'

let fixture: CatalogFixture
afterEach(async () => await fixture.close())

const address = { id: 'host:6432', address: 'host:6432', version: 'test' }

describe.each(inject('servers'))('the list of proxies on PostgreSQL $version', (servers) => {
  it('forgets every earlier life of an address once it has been silent', async () => {
    fixture = await openFixture(servers)
    await initialise({ shards: fixture.shards, rules })
    const { client } = fixture.shards[0]
    // Killed and started again twice before the first row had fallen silent.
    const lives = [randomUUID(), randomUUID(), randomUUID()].map((incarnation) => {
      return { ...address, incarnation }
    })
    for (const life of lives) await registerProxy(client, life)
    const [, , last] = lives
    if (last === undefined) throw new Error('there are three lives')
    const name = `${last.id}/${last.incarnation.slice(0, 8)}`
    await beat(client, last, name, epoch(1))
    expect(await listProxies(client)).toHaveLength(3)
    await client.query(
      `UPDATE ringfence.proxy SET heartbeat = heartbeat - $1 * interval '1 ms' WHERE id <> $2`,
      [silentMs + 1, name],
    )
    await beat(client, last, name, epoch(1))
    expect((await listProxies(client)).map(({ id }) => id)).toEqual([name])
  })
})
