// A follower between two real servers: what the source does to the moved rows happens on the
// target, and nothing else.
import { afterEach, describe, expect, inject, it } from 'vitest'
import { type FollowFixture, openFollowFixture } from './apply-fixture.ts'

const ddl = `CREATE TABLE t (tenant_id bigint NOT NULL, id int NOT NULL, v text,
  PRIMARY KEY (tenant_id, id))`
const tables = [{ name: 't', key: 'tenant_id', identity: ['tenant_id', 'id'] }]

describe.each(inject('servers').map((servers) => [servers.version, servers] as const))(
  'a follower on PostgreSQL %i',
  (_, servers) => {
    let fixture: FollowFixture | null = null
    afterEach(async () => {
      await fixture?.close()
      fixture = null
    })

    it('applies inserts, updates and deletes of the set only', async () => {
      fixture = await openFollowFixture({ servers, ddl, tables })
      const follower = await fixture.follow()
      const { source } = fixture
      await source.query(`INSERT INTO t SELECT g, 1, 'a' || g FROM generate_series(1, 200) g`)
      await source.query(`UPDATE t SET v = 'b' WHERE tenant_id % 3 = 0`)
      await source.query(`DELETE FROM t WHERE tenant_id % 5 = 0`)
      await fixture.caughtUp(follower)
      const { source: there, target: here, strangers } = await fixture.compare('t')
      expect(here).toEqual(there)
      expect(here.length).toBeGreaterThan(20)
      expect(strangers).toBe(0)
    })
  },
)
