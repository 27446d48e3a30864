// Foreign keys of sharded tables to reference tables while virtual nodes move. PostgreSQL's own
// queries for them see the rows that a shard holds for another one, too.
import type { Client } from 'pg'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import { column, connected, present, refusal } from '../support/clients.ts'
import { type Stack, startStack } from '../support/stack.ts'
import { StagedMove } from './staged-move.ts'

const [servers] = inject('servers')

describe('a foreign key to a reference table during a move', () => {
  let stack: Stack
  let move: StagedMove
  let client: Client

  beforeEach(async () => {
    stack = await startStack(present(servers), {
      shards: 2,
      setupSql: `CREATE TABLE products (id int PRIMARY KEY, parent int REFERENCES products)

        CREATE TABLE notes (tenant_id bigint PRIMARY KEY, product_id int REFERENCES products)

        CREATE TABLE late (
          tenant_id bigint PRIMARY KEY,
          product_id int REFERENCES products DEFERRABLE INITIALLY DEFERRED)

        CREATE TABLE marks (tenant_id bigint, product_id int REFERENCES products ON DELETE CASCADE)

        INSERT INTO products VALUES (1, NULL), (2, NULL), (3, 2)

        INSERT INTO notes VALUES (1, 1)

        INSERT INTO late VALUES (1, 1)

        INSERT INTO marks VALUES (1, 3)`,
    })
    client = await connected(stack.proxy)
    move = await StagedMove.prepare(stack)
    await move.begin()
    await move.target.query(`INSERT INTO notes VALUES (1, 1); INSERT INTO late VALUES (1, 1);
      INSERT INTO marks VALUES (1, 3)`)
  })
  afterEach(async () => {
    await Promise.all([client.end(), move.close()])
    await stack.close()
  })

  const products = () => column(client, 'SELECT id FROM products ORDER BY id')
  const complete = async (table: string) => {
    await move.state('completing')
    await move.source.query(`DELETE FROM ${table}`)
    await move.state('done')
  }

  it.each([
    ['notes', 'at once'],
    ['late', 'at COMMIT'],
  ])(
    'that a hidden row of %s seems to violate %s is told as something to try again',
    async (table) => {
      const other = table === 'notes' ? 'late' : 'notes'
      await client.query(`UPDATE ${other} SET product_id = NULL WHERE tenant_id = 1`)
      await move.target.query(`UPDATE ${other} SET product_id = NULL`)
      await move.switched()
      await client.query(`UPDATE ${table} SET product_id = NULL WHERE tenant_id = 1`)
      const deleting = client.query('DELETE FROM products WHERE id = 1')
      const error = await deleting.catch((thrown: unknown) => thrown)
      expect(error).toMatchObject({ code: '55006', hint: expect.stringContaining('Retry when') })
      expect(error).toMatchObject({ detail: expect.stringContaining('violates foreign key') })
      expect(await products()).toEqual(['1', '2', '3'])
      await complete(table)
      await client.query('DELETE FROM products WHERE id = 1')
      expect(await products()).toEqual(['2', '3'])
    },
  )

  it('that reference rows violate by themselves is told as ever', async () => {
    const duplicate = await refusal(client.query('INSERT INTO products VALUES (1)'))
    const referred = await refusal(client.query('DELETE FROM products WHERE id = 2'))
    expect([duplicate.code, referred.code]).toEqual(['23505', '23503'])
  })

  it('takes rows along on both shards though the source is fenced', async () => {
    await move.source.query(`CREATE TRIGGER fence BEFORE DELETE ON marks FOR EACH ROW
      WHEN (ringfence.vnode(OLD.tenant_id) = ANY ('{${move.vnode}}'))
      EXECUTE FUNCTION ringfence.reject_fenced()`)
    await move.switched()
    const direct = await refusal(move.source.query('DELETE FROM marks'))
    expect(direct.code).toBe('40001')
    await client.query('DELETE FROM products WHERE id = 3')
    const left = [move.source, move.target].map((shard) => column(shard, 'SELECT * FROM marks'))
    expect(await Promise.all(left)).toEqual([[], []])
  })

  it('is not followed while rows are between two owners', async () => {
    await move.state('fencing')
    let ended = false
    const deleting = client.query('DELETE FROM products WHERE id = 3').finally(() => {
      ended = true
    })
    const [database] = stack.instance.databases.values()
    await expect.poll(() => database?.gate?.heldNow).toBe(1)
    expect(ended).toBe(false)
    await move.publish(move.ownersSql('switched', 'to_shard'))
    await deleting
    expect(await products()).toEqual(['1', '2'])
  })

  it('is followed by a transaction that the fence waits for', async () => {
    await client.query('BEGIN')
    await client.query('INSERT INTO products VALUES (4)')
    const epoch = await move.announce("UPDATE ringfence.move SET state = 'fencing'")
    await move.known(epoch)
    await client.query('DELETE FROM products WHERE id = 3')
    const [database] = stack.instance.databases.values()
    expect(database?.gate?.seen).toBeLessThan(Number(epoch))
    await client.query('COMMIT')
    await expect.poll(() => String(database?.gate?.seen)).toBe(epoch)
  })
})
