// Rows of another shard whose keys are text, uuid, of a narrow integer type or missing: what the catalog names is what the
// servers leave out.
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { type KeyValue, vnodeOfKey } from '../../router/key-hash.ts'
import type { KeyType } from '../../router/schema.ts'
import { column, connected, present, until } from '../support/clients.ts'
import { startStack, type Stack } from '../support/stack.ts'

const vnodeBits = 4

type Case = {
  readonly keyType: KeyType
  readonly sqlType: string
  readonly keys: readonly string[]
  readonly valueOf: (key: string) => KeyValue
}

const texts = [
  '',
  'a',
  `it's`,
  'say "x"',
  'back\\slash',
  '{a,b}',
  'NULL',
  'ü €',
  'Ünüß ',
  '🦊',
  'a b',
]
const integers = ['0', '1', '-1', '2', '3', '4', '5', '6', '7', '8', '-32768']
const uuids = integers.map((_, at) => `00000000-0000-4000-8000-0000000000${at + 10}`)

const textValue = (key: string): KeyValue => ({ kind: 'text', bytes: Buffer.from(key) })
const integerValue = (key: string): KeyValue => ({ kind: 'bigint', value: BigInt(key) })
const uuidValue = (key: string): KeyValue => ({
  kind: 'uuid',
  bytes: Buffer.from(key.replaceAll('-', ''), 'hex'),
})

const cases: readonly Case[] = [
  { keyType: 'text', sqlType: 'text', keys: texts, valueOf: textValue },
  { keyType: 'text', sqlType: 'varchar(20) COLLATE "C"', keys: texts, valueOf: textValue },
  { keyType: 'uuid', sqlType: 'uuid', keys: uuids, valueOf: uuidValue },
  { keyType: 'bigint', sqlType: 'smallint', keys: integers, valueOf: integerValue },
  { keyType: 'bigint', sqlType: 'integer', keys: integers, valueOf: integerValue },
]

const [servers] = inject('servers')

describe.each(cases)('rows of another shard under a key of type $sqlType', (each) => {
  let stack: Stack
  let client: Client
  let shards: readonly Client[] = []

  beforeAll(async () => {
    const { keyType, sqlType } = each
    stack = await startStack(present(servers), {
      shards: 2,
      rules: { keyType, vnodeCount: 2 ** vnodeBits },
      setupSql: `CREATE TABLE notes (tenant_id ${sqlType}, body text)`,
    })
    client = await connected(stack.proxy)
    shards = await Promise.all(
      stack.shardUrls.map((connectionString) => connected({ connectionString })),
    )
    for (const key of each.keys)
      await client.query('INSERT INTO notes VALUES ($1, $2)', [key, `own ${key}`])
  })
  afterAll(async () => {
    await Promise.all([client, ...shards].map((each) => each.end()))
    await stack.close()
  })

  const seen = async () => (await column(client, 'SELECT body FROM notes')).map(String).toSorted()
  const own = () => each.keys.map((key) => `own ${key}`).toSorted()

  /** Owner of a key's virtual node, as number of the shard. */
  async function ownerOf(key: string): Promise<number> {
    const vnode = vnodeOfKey(each.valueOf(key), vnodeBits)
    const owner = await column(
      present(shards[0]),
      `SELECT ordinal FROM ringfence.vnode v JOIN ringfence.shard s ON s.id = v.shard WHERE vnode = $1`,
      [vnode],
    )
    return Number(owner[0])
  }

  async function publish(sql: string, values: readonly unknown[]): Promise<void> {
    const home = present(shards[0])
    await home.query(sql, [...values])
    const epoch = await column(
      home,
      'UPDATE ringfence.topology SET epoch = epoch + 1 RETURNING epoch',
    )
    await home.query('NOTIFY ringfence_topology')
    const [database] = stack.instance.databases.values()
    await until('the move is known', () => String(database?.topology.epoch) === epoch[0])
  }

  it('are left out key by key', async () => {
    for (const key of each.keys) {
      const owner = await ownerOf(key)
      await publish(
        `INSERT INTO ringfence.move (vnodes, keys, except_keys, from_shard, to_shard, state)
         SELECT '{}', ARRAY[$1], '{}', a.id, b.id, 'copying' FROM ringfence.shard a, ringfence.shard b
         WHERE a.ordinal = $2 AND b.ordinal = $3`,
        [key, owner, 1 - owner],
      )
      await shards[1 - owner]?.query('INSERT INTO notes VALUES ($1, $2)', [key, `hidden ${key}`])
      expect(await seen()).toEqual(own())
    }
  })

  it('are left out by virtual node, but for keys that stay', async () => {
    await publish(`UPDATE ringfence.move SET state = 'aborted' WHERE $1`, [true])
    const held = await Promise.all(shards.map((shard) => column(shard, 'SELECT body FROM notes')))
    expect(held.flat()).toHaveLength(2 * each.keys.length)
    // Every row that is on a shard of another is of a virtual node on the move, but one key's.
    const [stays = ''] = each.keys
    for (const from of [0, 1]) {
      await publish(
        `INSERT INTO ringfence.move (vnodes, keys, except_keys, from_shard, to_shard, state)
         SELECT (SELECT array_agg(vnode) FROM ringfence.vnode WHERE shard = a.id), '{}', ARRAY[$1],
           a.id, b.id, 'verifying'
         FROM ringfence.shard a, ringfence.shard b WHERE a.ordinal = $2 AND b.ordinal = $3`,
        [stays, from, 1 - from],
      )
    }
    expect(await seen()).toEqual([...own(), `hidden ${stays}`].toSorted())
  })

  it('have a key: a row without one is seen where it is', async () => {
    await shards[0]?.query(`INSERT INTO notes VALUES (NULL, 'nobody''s')`)
    expect(await seen()).toContain(`nobody's`)
  })
})
