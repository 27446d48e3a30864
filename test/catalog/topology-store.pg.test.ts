// The topology store against a real home shard: what it reads, hears, polls, and what it does while home is down.
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import { TopologyStore } from '../../catalog/topology-store.ts'
import { shardId } from '../../core/ids.ts'
import { createLog } from '../../core/log.ts'
import { ownerOf, type Topology } from '../../router/topology.ts'
import { vnode } from '../../core/ids.ts'
import { pause, until } from '../support/clients.ts'
import { startFaultProxy } from '../support/fault-proxy.ts'
import { column, openCluster, openFixture, type CatalogFixture } from './fixture.ts'

const log = createLog('silent')
const moveVnode5 = `UPDATE ringfence.vnode SET shard = 's3' WHERE vnode = 5;
  UPDATE ringfence.topology SET epoch = epoch + 1`

describe.each(inject('servers'))('topology store on PostgreSQL $version', (servers) => {
  let fixture: CatalogFixture
  const stores: TopologyStore[] = []

  beforeEach(async () => {
    fixture = await openCluster(servers)
  })
  afterEach(async () => {
    await Promise.all(stores.splice(0).map((store) => store.close()))
    await fixture.close()
  })

  function createStore(pollMs: number, ids = fixture.shards.map(({ id }) => id)): TopologyStore {
    const store = new TopologyStore({ url: fixture.shards[0].url, shards: ids, log, pollMs })
    stores.push(store)
    return store
  }

  const nextTopology = async (store: TopologyStore) =>
    await new Promise<Topology>((resolve) => {
      const unsubscribe = store.onChange((topology) => {
        unsubscribe()
        resolve(topology)
      })
    })

  const schemaChange = async (store: TopologyStore) =>
    await new Promise<string>((resolve) => {
      store.onSchemaChange(() => resolve('told'))
    })

  it('reads epoch, shards and the owner of every vnode', async () => {
    const [home] = fixture.shards
    const topology = await createStore(60_000).start()
    expect(topology.epoch).toBe(1)
    expect(topology.shards).toEqual(['s1', 's2', 's3'])
    const owners = await column<string>(
      home.client,
      'SELECT shard FROM ringfence.vnode ORDER BY vnode',
    )
    expect(owners.map((_, number) => ownerOf(topology, vnode(number)))).toEqual(owners)
  })

  it('keeps the order of the configuration, whatever the order of registration', async () => {
    const [home] = fixture.shards
    const ids = ['s1', 's3', 's2'].map(shardId)
    const topology = await createStore(60_000, ids).start()
    const owners = await column<string>(
      home.client,
      'SELECT shard FROM ringfence.vnode ORDER BY vnode',
    )
    expect(topology.shards).toEqual(ids)
    expect(owners.map((_, number) => ownerOf(topology, vnode(number)))).toEqual(owners)
  })

  it('hears of a new epoch', async () => {
    const [home] = fixture.shards
    const store = createStore(60_000)
    await store.start()
    const next = nextTopology(store)
    await home.client.query(`${moveVnode5}; NOTIFY ringfence_topology`)
    const topology = await next
    expect(topology.epoch).toBe(2)
    expect(ownerOf(topology, vnode(5))).toBe('s3')
    expect(store.current).toBe(topology)
  })

  it('finds a new epoch whose notification was lost by polling', async () => {
    const [home] = fixture.shards
    const store = createStore(30)
    await store.start()
    const next = nextTopology(store)
    await home.client.query(moveVnode5)
    expect((await next).epoch).toBe(2)
  })

  it('tells every store of a schema change, its own included', async () => {
    const one = createStore(60_000)
    const other = createStore(60_000)
    await one.start()
    await other.start()
    const told = [schemaChange(one), schemaChange(other)]
    await one.notifySchemaChanged()
    expect(await Promise.all(told)).toEqual(['told', 'told'])
  })

  it('keeps the last topology while home is down, then catches up and passes on what it owes', async () => {
    const [home, second] = fixture.shards
    const store = createStore(60_000)
    const witness = createStore(60_000)
    const before = await store.start()
    const database = new URL(home.url).pathname.slice(1)
    const admin = await fixture.open({ ...second, url: home.url.replace(/[^/]+$/, 'postgres') })
    await admin.query(`ALTER DATABASE "${database}" ALLOW_CONNECTIONS false`)
    await admin.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [
      database,
    ])
    await store.notifySchemaChanged()
    expect(store.current).toBe(before)
    await admin.query(`ALTER DATABASE "${database}" ALLOW_CONNECTIONS true`)
    await witness.start()
    const witnessTold = schemaChange(witness)
    const changed = nextTopology(store)
    const told = schemaChange(store)
    const client = await fixture.open(home)
    await client.query(moveVnode5)
    expect((await changed).epoch).toBe(2)
    expect(await Promise.all([told, witnessTold])).toEqual(['told', 'told'])
  })

  it('leaves a server that another one has replaced, also when it was about to connect there', async () => {
    const [home] = fixture.shards
    const direct = new URL(home.url)
    const slow = await startFaultProxy({ host: direct.hostname, port: Number(direct.port) })
    const replaced = new URL(home.url)
    replaced.hostname = '127.0.0.1'
    replaced.port = String(slow.port)
    let url = home.url
    const ids = fixture.shards.map(({ id }) => id)
    const store = new TopologyStore({
      get url() {
        return url
      },
      shards: ids,
      log,
      pollMs: 100,
    })
    stores.push(store)
    await store.start()
    const others = `FROM pg_stat_activity
      WHERE datname = current_database() AND backend_type = 'client backend'
        AND pid <> pg_backend_pid()`
    const count = async () => (await column<string>(home.client, `SELECT count(*) ${others}`))[0]
    const before = await count()
    try {
      await slow.set({ kind: 'latency', ms: 150, jitterMs: 0 })
      url = replaced.href
      await home.client.query(`SELECT pg_terminate_backend(pid) ${others}`)
      await until('it connects there', () => slow.connections > 0)
      url = home.url
      store.reconnect('the primary has changed')
      await pause(2_500)
      expect(slow.connections).toBe(0)
      expect(await count()).toBe(before)
      const changed = nextTopology(store)
      await home.client.query(moveVnode5)
      expect((await changed).epoch).toBe(2)
    } finally {
      await slow.close()
    }
  })

  it('survives a listener that throws, and still tells the others', async () => {
    const [home] = fixture.shards
    const store = createStore(60_000)
    await store.start()
    store.onChange(() => {
      throw new Error('a bug elsewhere')
    })
    const next = nextTopology(store)
    await home.client.query(`${moveVnode5}; NOTIFY ringfence_topology`)
    expect((await next).epoch).toBe(2)
  })

  it('refuses a catalog in which an unknown shard owns vnodes', async () => {
    const store = createStore(60_000, [shardId('s1'), shardId('s2')])
    await expect(store.start()).rejects.toMatchObject({
      sqlstate: '57P03',
      detail: 'shard "s3" has virtual nodes but is not in the configuration',
    })
  })

  it('refuses to start without a catalog, or without a server', async () => {
    const empty = await openFixture(servers)
    const shards = [shardId('s1')]
    const { url } = empty.shards[0]
    const bare = new TopologyStore({ url, shards, log, pollMs: 1000 })
    await expect(bare.start()).rejects.toMatchObject({
      sqlstate: '57P03',
      message: 'the topology could not be read from home shard "s1"',
    })
    await empty.close()
    const nobody = new TopologyStore({
      url: 'postgres://x@127.0.0.1:1/x',
      shards,
      log,
      pollMs: 1000,
    })
    await expect(nobody.start()).rejects.toMatchObject({ sqlstate: '57P03' })
  })
})
