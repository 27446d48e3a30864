// Transactions that keep their snapshot while virtual nodes move: no row is missed or counted
// twice. What cannot be told from such a snapshot any more fails as a serialization failure does.
import type { Client } from 'pg'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import { column, connected, present, refusal, until, value } from '../support/clients.ts'
import { type Stack, startStack } from '../support/stack.ts'
import { StagedMove } from './staged-move.ts'

const [servers] = inject('servers')
const rowsOf = async (client: Client) => (await client.query('SELECT * FROM notes')).rowCount

describe('a transaction during a move', () => {
  let stack: Stack
  let move: StagedMove
  let client: Client

  beforeEach(async () => {
    stack = await startStack(present(servers), {
      shards: 2,
      setupSql: `CREATE TABLE notes (tenant_id bigint, id int, PRIMARY KEY (tenant_id, id))

        INSERT INTO notes VALUES (1, 1)`,
    })
    client = await connected(stack.proxy)
    for (let key = 2; key <= 20; key += 1)
      await client.query('INSERT INTO notes VALUES ($1, 1)', [key])
    move = await StagedMove.prepare(stack)
  })
  afterEach(async () => {
    await Promise.all([client.end(), move.close()])
    await stack.close()
  })

  const ofNeighbour = () =>
    client.query('SELECT * FROM notes WHERE tenant_id = $1', [move.neighbour])
  const ofMoved = () => client.query('SELECT * FROM notes WHERE tenant_id = 1')
  const plant = () => move.target.query('INSERT INTO notes VALUES (1, 1)')
  async function moveMeanwhile(): Promise<void> {
    await move.begin()
    await plant()
    await move.switched()
  }

  it.each([
    ['BEGIN ISOLATION LEVEL REPEATABLE READ', ''],
    ['BEGIN', 'SET TRANSACTION ISOLATION LEVEL SERIALIZABLE'],
    ['START TRANSACTION READ ONLY', "SET transaction_isolation = 'repeatable read'"],
  ])(
    'above READ COMMITTED has to start again for rows that were switched: %s; %s',
    async (begin, set) => {
      await client.query(begin)
      if (set !== '') await client.query(set)
      await ofNeighbour()
      await moveMeanwhile()
      expect((await ofNeighbour()).rowCount).toBe(1)
      expect(await refusal(ofMoved())).toMatchObject({
        code: '40001',
        hint: 'Retry the transaction.',
      })
      expect(await refusal(ofNeighbour())).toMatchObject({ code: '25P02' })
      await client.query('ROLLBACK')
      expect([(await ofMoved()).rowCount, await rowsOf(client)]).toEqual([1, 20])
    },
  )

  it('whose isolation is a default of the servers has to start again', async () => {
    for (const shard of [move.source, move.target]) {
      const database = await value(shard, 'SELECT quote_ident(current_database())')
      await shard.query(
        `ALTER DATABASE ${database} SET default_transaction_isolation = 'repeatable read'`,
      )
    }
    await move.endOthers()
    await until('they have gone', () => stack.poolStats().idle === 0)
    await client.query('BEGIN')
    expect(await value(client, 'SHOW transaction_isolation')).toBe('repeatable read')
    await ofNeighbour()
    await moveMeanwhile()
    expect(await refusal(client.query('SELECT * FROM notes'))).toMatchObject({ code: '40001' })
    await client.query('ROLLBACK')
  })

  it('has to start again whatever savepoint it goes back to', async () => {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
    await ofNeighbour()
    await client.query('SAVEPOINT s')
    await moveMeanwhile()
    for (let turn = 0; turn < 2; turn += 1) {
      expect(await refusal(ofMoved())).toMatchObject({ code: '40001' })
      await client.query('ROLLBACK TO s')
      expect((await ofNeighbour()).rowCount).toBe(1)
    }
    await client.query('ROLLBACK')
  })

  it('has to start again when a chain has begun it', async () => {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
    await ofNeighbour()
    await client.query('COMMIT AND CHAIN')
    await ofNeighbour()
    await moveMeanwhile()
    expect(await refusal(ofMoved())).toMatchObject({ code: '40001' })
    await client.query('ROLLBACK')
  })

  it('has to start again when its BEGIN came along with its first statement', async () => {
    await client.query(
      `BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM notes WHERE tenant_id = ${move.neighbour}`,
    )
    await moveMeanwhile()
    expect(await refusal(ofMoved())).toMatchObject({ code: '40001' })
    await client.query('ROLLBACK')
  })

  it('of one string has to start again when rows are switched meanwhile', async () => {
    await client.query("SET default_transaction_isolation = 'repeatable read'")
    await move.begin()
    await plant()
    const lock = `SELECT * FROM notes WHERE tenant_id = ${move.neighbour} FOR UPDATE`
    await move.target.query(`BEGIN; ${lock}`)
    const refused = refusal(client.query(`${lock}; SELECT * FROM notes WHERE tenant_id = 1`))
    const waiting = 'SELECT count(*) FROM pg_locks WHERE NOT granted'
    await until('it waits', async () => (await value(move.target, waiting)) !== '0')
    await move.switched()
    await move.target.query('ROLLBACK')
    expect(await refused).toMatchObject({ code: '40001' })
    expect(await rowsOf(client)).toBe(20)
  })

  it('at READ COMMITTED sees every row once through a whole move', async () => {
    await client.query('BEGIN')
    const seen = [await rowsOf(client)]
    const look = async () => seen.push(await rowsOf(client), (await ofMoved()).rowCount)
    await client.query('SAVEPOINT s')
    await move.begin()
    await plant()
    await look()
    // A transaction that has read on the source is waited for by the fence.
    await client.query('COMMIT; BEGIN')
    await ofNeighbour()
    await move.switched()
    await look()
    await move.state('completing')
    await look()
    await move.source.query('DELETE FROM notes WHERE tenant_id = 1')
    await move.state('done')
    await look()
    await client.query('COMMIT')
    expect(seen).toEqual([20, 20, 1, 20, 1, 20, 1, 20, 1])
  })

  it('goes on above READ COMMITTED when rows do no more than begin to move', async () => {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
    const before = await rowsOf(client)
    await move.begin()
    await plant()
    const after = await rowsOf(client)
    await client.query('COMMIT')
    expect([before, after]).toEqual([20, 20])
  })

  it('has to start again when rows that its snapshot has are not hidden any more', async () => {
    await move.begin()
    await plant()
    await move.switched()
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
    expect(await rowsOf(client)).toBe(20)
    await move.state('completing')
    await move.source.query('DELETE FROM notes WHERE tenant_id = 1')
    await move.state('done')
    expect((await ofMoved()).rowCount).toBe(1)
    expect(await refusal(rowsOf(client))).toMatchObject({ code: '40001' })
    await client.query('ROLLBACK')
    expect(await rowsOf(client)).toBe(20)
  })

  it('has to start again when a move is given up whose rows its snapshot has', async () => {
    await move.begin()
    await plant()
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
    expect(await rowsOf(client)).toBe(20)
    await move.target.query('DELETE FROM notes WHERE tenant_id = 1')
    await move.state('aborted')
    expect(await refusal(rowsOf(client))).toMatchObject({ code: '40001' })
    await client.query('ROLLBACK')
  })

  it('is counted once by whoever asks while owners change all the time', async () => {
    await move.begin()
    await plant()
    const stop = new AbortController()
    const flipping = async () => {
      for (let turn = 0; !stop.signal.aborted; turn += 1) {
        const [state, side] =
          turn % 2 === 0
            ? (['switched', 'to_shard'] as const)
            : (['copying', 'from_shard'] as const)
        await move.announce(move.ownersSql(state, side))
      }
    }
    const flipped = flipping()
    const few = `SELECT * FROM notes WHERE tenant_id IN (1, ${move.neighbour})`
    const wrong: unknown[] = []
    const endMs = performance.now() + 1_500
    while (performance.now() < endMs) {
      const [alls, fews] = [await rowsOf(client), (await client.query(few)).rowCount]
      if (alls !== 20 || fews !== 2) wrong.push([alls, fews])
    }
    stop.abort()
    await flipped
    expect(wrong).toEqual([])
  })

  it('is explained with the shards that hide rows', async () => {
    await move.begin()
    const hiding = await column(client, `EXPLAIN (ROUTE) SELECT * FROM notes`)
    expect(hiding).toContain('hides rows of others')
  })
})
