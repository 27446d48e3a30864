// Databases of one's own: made on every shard, gone after drop().
import { Client } from 'pg'
import { describe, expect, inject, it } from 'vitest'
import { createDatabases } from './databases.ts'

describe.each(inject('servers'))('test databases on PostgreSQL $version', (servers) => {
  const names = async () => {
    const found: string[] = []
    for (const { url } of servers.shards) {
      const client = new Client({ connectionString: url })
      await client.connect()
      const answer = await client.query<{ datname: string }>('SELECT datname FROM pg_database')
      found.push(...answer.rows.map(({ datname }) => datname))
      await client.end()
    }
    return found
  }

  it('exist on each of the three shards until they are dropped', async () => {
    const databases = await createDatabases(servers, 'own')
    expect(databases.name).toMatch(/^own_[0-9a-f]{8}$/)
    expect(databases.urls).toHaveLength(3)
    expect((await names()).filter((name) => name === databases.name)).toHaveLength(3)
    await databases.drop()
    expect(await names()).not.toContain(databases.name)
  })

  it('are dropped in spite of open sessions and prepared transactions', async () => {
    const databases = await createDatabases(servers, 'busy')
    const client = new Client({ connectionString: databases.urls[1] ?? '' })
    client.on('error', () => undefined)
    await client.connect()
    await client.query('BEGIN; CREATE TABLE t ()')
    await client.query(`PREPARE TRANSACTION 'it''s ${databases.name}'`)
    await client.query('BEGIN')
    await databases.drop()
    expect(await names()).not.toContain(databases.name)
    await client.end()
  })
})
