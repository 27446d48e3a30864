// Writes that reach every shard: all or nothing, and the same everywhere however many clients write
// at once.
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { createRandom } from '../support/random.ts'
import { type Arena, openArena } from './arena.ts'
import { runSeed, runsOf } from './run-seeds.ts'
import { type Reply, Side } from './side.ts'

const clients = 8
const uuid = '00000000-0000-4000-8000-000000000009'

describe.each(inject('servers'))('writes to all shards on PostgreSQL $version', (servers) => {
  let arena: Arena
  beforeAll(async () => {
    arena = await openArena(servers)
  })
  afterAll(async () => arena.close())
  beforeEach(async () => arena.reset())

  /** Every client runs its statements one after the other; gives what was answered. */
  async function together(of: (client: number) => readonly string[]): Promise<Reply[]> {
    const sides = await Promise.all(
      Array.from({ length: clients }, () => Side.open(arena.stack.proxy)),
    )
    const played = await Promise.all(
      sides.map(async (side, client) => {
        const replies: Reply[] = []
        for (const sql of of(client)) replies.push(await side.sql(sql))
        return replies
      }),
    )
    for (const side of sides) side.close()
    return played.flat()
  }

  const sqlstates = (replies: readonly Reply[]) =>
    replies.flatMap(({ error }) => (error === null ? [] : [`${error.sqlstate} ${error.message}`]))

  /** What differs between copies; the oracle has not seen these writes. */
  const diverged = async () =>
    (await arena.contents.faults()).filter((fault) => fault.includes('a copy differs'))

  it('counts every increment of 8 clients', async () => {
    const rounds = runsOf(10)
    const replies = await together(() =>
      Array.from({ length: rounds }, () => 'UPDATE products SET price = price + 1 WHERE id = 1'),
    )
    expect(sqlstates(replies)).toEqual([])
    const { results } = await (await Side.open(arena.stack.proxy)).sql(
      'SELECT price FROM products WHERE id = 1',
    )
    expect(results[0]?.rows).toEqual([`("${clients * rounds + 1}.50")`])
    expect(await diverged()).toEqual([])
  })

  it('keeps copies equal while 8 clients write what they read', async () => {
    const replies = await together((client) => {
      const random = createRandom(runSeed + client)
      return Array.from({ length: runsOf(12) }, (_, at) => {
        const id = 100 + client * 1_000 + at
        return random.pick([
          `INSERT INTO products (id, name, price, code, made, number)
            SELECT ${id}, 'n', count(*), '${uuid}', '2024-01-01', 1 FROM products`,
          `INSERT INTO products (id, name) VALUES (${id}, 'v')`,
          'UPDATE products SET price = (SELECT count(*) FROM products) WHERE id < 3',
          'UPDATE products SET price = price + 1 WHERE price < 4',
          `DELETE FROM products WHERE id > 99 AND price < ${random.below(20)}`,
          `BEGIN; UPDATE products SET name = 'b${id}' WHERE id = ${1 + random.below(4)};
            UPDATE products SET name = 'c${id}' WHERE id = ${1 + random.below(4)}; COMMIT`,
          `INSERT INTO products (id, name) VALUES (${1 + random.below(4)}, 'u')
            ON CONFLICT (id) DO UPDATE SET price = products.price + 1, made = now()`,
        ])
      })
    })
    process.stdout.write(`reference writes: seed ${runSeed}: ${sqlstates(replies).join('; ')}\n`)
    expect(sqlstates(replies)).toEqual([])
    expect(await diverged()).toEqual([])
  })
})
