// Measured load in the catalog: sums of several proxies, decay, rates, the hottest keys, and who may touch it.
import type { Client } from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { type LoadReport, readLoad, writeLoad } from '../../catalog/load-store.ts'
import { vnode } from '../../core/ids.ts'
import { createRandom } from '../support/random.ts'
import { type CatalogFixture, column, openCluster } from './fixture.ts'

const halfLifeS = 600
const secondsOfSum = halfLifeS / Math.LN2

describe.each(inject('servers'))('measured load on PostgreSQL $version', (servers) => {
  let fixture: CatalogFixture
  let client: Client
  beforeAll(async () => {
    fixture = await openCluster(servers)
    client = fixture.shards[0].client
    await client.query('SET search_path = pg_catalog')
  })
  afterAll(async () => await fixture.close())
  beforeEach(async () => {
    await client.query('TRUNCATE ringfence.vnode_load, ringfence.key_load')
  })

  const counts = (at: number, serverMs: number) => {
    return { vnode: vnode(at), statements: 10, serverMs, bytes: 1_000, rows: 20 }
  }
  const report = (serverMs: number, at = 7): LoadReport => {
    const key = { key: 'k', vnode: vnode(at), statements: 5, serverMs: serverMs / 2 }
    return { vnodes: [counts(at, serverMs)], keys: [key] }
  }
  const age = (by: string) =>
    client.query(`UPDATE ringfence.vnode_load SET at = at - interval '${by}';
                  UPDATE ringfence.key_load SET at = at - interval '${by}'`)

  it('adds up what proxies report', async () => {
    await writeLoad(client, report(30))
    await writeLoad(client, report(12))
    const { vnodes, keys } = await readLoad(client)
    expect(vnodes).toEqual([
      {
        vnode: 7,
        statements: expect.closeTo(20 / secondsOfSum, 4),
        serverMs: expect.closeTo(42 / secondsOfSum, 4),
        bytes: expect.closeTo(2_000 / secondsOfSum, 2),
        rows: expect.closeTo(40 / secondsOfSum, 4),
      },
    ])
    expect(keys).toEqual([
      {
        key: 'k',
        vnode: 7,
        statements: expect.closeTo(10 / secondsOfSum, 4),
        serverMs: expect.closeTo(21 / secondsOfSum, 4),
      },
    ])
  })

  it('halves in the half-life, when read and when added to', async () => {
    await writeLoad(client, report(80), halfLifeS)
    await age('600 s')
    const halved = await readLoad(client, halfLifeS)
    expect(halved.vnodes[0]?.serverMs).toBeCloseTo(40 / secondsOfSum, 3)
    await writeLoad(client, report(80), halfLifeS)
    const added = await readLoad(client, halfLifeS)
    expect(added.vnodes[0]?.serverMs).toBeCloseTo(120 / secondsOfSum, 3)
    expect(added.keys[0]?.serverMs).toBeCloseTo(60 / secondsOfSum, 3)
  })

  it('tends to the rate of a steady load', async () => {
    for (let round = 0; round < 60; round += 1) {
      await writeLoad(client, report(500), 60)
      await age('10 s')
    }
    const { vnodes } = await readLoad(client, 60)
    // 500 ms every 10 s; the last report has decayed for 10 s.
    expect(vnodes[0]?.serverMs).toBeGreaterThan(45)
    expect(vnodes[0]?.serverMs).toBeLessThan(55)
  })

  it('survives years of silence, where float8 would underflow', async () => {
    await writeLoad(client, report(80))
    for (let times = 0; times < 20; times += 1) {
      await age('10 years')
      await writeLoad(client, { vnodes: [{ ...counts(7, 0), rows: 0 }], keys: [] })
    }
    const [row] = (await readLoad(client)).vnodes
    expect(row).toMatchObject({ serverMs: 0, rows: 0 })
    expect(row?.statements).toBeCloseTo(10 / secondsOfSum, 4)
  })

  it('keeps the thousand hottest keys', async () => {
    const keys = Array.from({ length: 1_200 }, (_, at) => {
      return { key: `key ${at}`, vnode: vnode(1), statements: 1, serverMs: at + 1 }
    })
    await writeLoad(client, { vnodes: [], keys })
    const kept = (await readLoad(client)).keys
    expect(kept.length).toBe(1_000)
    expect(kept[0]?.key).toBe('key 1199')
    expect(kept.at(-1)?.key).toBe('key 200')
  })

  it('leaves nothing of a report that fails', async () => {
    const broken = { key: 'a\0b', vnode: vnode(1), statements: 1, serverMs: 1 }
    await expect(writeLoad(client, { ...report(30), keys: [broken] })).rejects.toThrow(/0x00/)
    expect(await readLoad(client)).toEqual({ vnodes: [], keys: [] })
  })

  it('takes the reports of many proxies at once without a deadlock', async () => {
    const proxies = await Promise.all(
      Array.from({ length: 4 }, () => fixture.open(fixture.shards[0])),
    )
    await Promise.all(
      proxies.map(async (proxy, at) => {
        const random = createRandom(at)
        for (let round = 0; round < 20; round += 1) {
          const numbers = [...new Set(Array.from({ length: 200 }, () => random.below(300)))]
          await writeLoad(proxy, {
            vnodes: numbers.map((number) => counts(number, 1)),
            keys: numbers.map((number) => {
              return { key: String(number), vnode: vnode(number), statements: 1, serverMs: 1 }
            }),
          })
        }
      }),
    )
    const [statements] = await column<number>(
      client,
      'SELECT sum(statements) FROM ringfence.vnode_load',
    )
    expect(statements).toBeGreaterThan(4 * 20 * 100)
  })

  it('is nobody’s but the catalog role’s', async () => {
    const [role] = await column<string>(client, `SELECT 'load_' || md5(random()::text)`)
    await client.query(`CREATE ROLE ${role}`)
    try {
      await client.query(`SET ROLE ${role}`)
      await expect(writeLoad(client, report(30))).rejects.toMatchObject({ code: '42501' })
      await expect(readLoad(client)).rejects.toMatchObject({ code: '42501' })
    } finally {
      await client.query('RESET ROLE')
      await client.query(`DROP ROLE ${role}`)
    }
  })
})
