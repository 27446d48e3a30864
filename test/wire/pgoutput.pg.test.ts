// The decoder of pgoutput on what real servers write: random transactions, replayed into a model
// that must end up as the table is, in binary and in text, at every protocol version.
import * as fc from 'fast-check'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { decodePgoutput, type PgoutputMessage } from '../../wire/pgoutput.ts'
import type { PgoutputTuple } from '../../wire/pgoutput-tuple.ts'
import { createDatabases, type TestDatabases } from '../support/databases.ts'

type Row = (string | null)[]

const toastBytes = 3_000

/** One statement; `id` is small so that rows meet again. */
const statementArbitrary = fc.oneof(
  fc.record({
    kind: fc.constant('insert' as const),
    id: fc.nat(9),
    text: fc.string({ maxLength: 8 }),
  }),
  fc.record({ kind: fc.constant('insertLarge' as const), id: fc.nat(9), seed: fc.nat(99) }),
  fc.record({
    kind: fc.constant('update' as const),
    id: fc.nat(9),
    text: fc.string({ maxLength: 8 }),
  }),
  fc.record({ kind: fc.constant('rekey' as const), id: fc.nat(9), to: fc.nat(9) }),
  fc.record({ kind: fc.constant('delete' as const), id: fc.nat(9) }),
  fc.record({ kind: fc.constant('truncate' as const) }),
  fc.record({ kind: fc.constant('rollBackTo' as const), id: fc.nat(9) }),
)
type Statement = typeof statementArbitrary extends fc.Arbitrary<infer T> ? T : never

const transactionArbitrary = fc.record({
  statements: fc.array(statementArbitrary, { minLength: 1, maxLength: 6 }),
  commits: fc.integer({ min: 0, max: 4 }).map((dice) => dice > 0),
})

function sqlOf(statement: Statement): readonly [string, unknown[]] {
  switch (statement.kind) {
    case 'insert':
      return [
        'INSERT INTO m VALUES ($1, $2, NULL, $1) ON CONFLICT (id) DO NOTHING',
        [statement.id, statement.text.replaceAll('\0', '')],
      ]
    case 'insertLarge':
      return [
        `INSERT INTO m SELECT $1::int, 'large', (SELECT string_agg(md5((g + $2::int)::text), '')
           FROM generate_series(1, ${toastBytes / 32}) g), 7 ON CONFLICT (id) DO NOTHING`,
        [statement.id, statement.seed],
      ]
    case 'update':
      return [
        'UPDATE m SET name = $2, n = n + 1 WHERE id = $1',
        [statement.id, statement.text.replaceAll('\0', '')],
      ]
    case 'rekey':
      return [
        'UPDATE m SET id = $2 WHERE id = $1 AND NOT EXISTS (SELECT FROM m WHERE id = $2)',
        [statement.id, statement.to],
      ]
    case 'delete':
      return ['DELETE FROM m WHERE id = $1', [statement.id]]
    case 'truncate':
      return ['TRUNCATE m', []]
    case 'rollBackTo':
      return ['INSERT INTO m VALUES ($1, $2) ON CONFLICT DO NOTHING', [statement.id, 'undone']]
  }
}

describe.each(inject('servers').map((servers) => [servers.version, servers] as const))(
  'pgoutput of PostgreSQL %i',
  (version, servers) => {
    let databases: TestDatabases
    let client: Client

    beforeAll(async () => {
      databases = await createDatabases(servers, 'pgoutput')
      client = new Client({ connectionString: databases.urls[0] })
      await client.connect()
      await client.query(
        `CREATE TABLE m (id int PRIMARY KEY, name text, large text, n int DEFAULT 0);
         ALTER TABLE m ALTER large SET STORAGE EXTERNAL;
         CREATE PUBLICATION m FOR TABLE m`,
      )
    })
    afterAll(async () => {
      await client.end()
      await databases.drop()
    })

    async function run(statements: readonly Statement[], commits: boolean): Promise<void> {
      await client.query('BEGIN')
      for (const statement of statements) {
        const [sql, values] = sqlOf(statement)
        const undone = statement.kind === 'rollBackTo'
        if (undone) await client.query('SAVEPOINT s')
        await client.query(sql, values)
        if (undone) await client.query('ROLLBACK TO SAVEPOINT s')
      }
      await client.query(commits ? 'COMMIT' : 'ROLLBACK')
    }

    /** What the slot has, decoded; the messages come as the server wrote them. */
    async function messagesOf(slot: string, protocol: number, binary: boolean) {
      const options = [
        'proto_version',
        String(protocol),
        'publication_names',
        'm',
        'messages',
        'true',
      ]
      if (binary) options.push('binary', 'true')
      const list = options.map((option) => `'${option}'`).join(', ')
      const { rows } = await client.query<{ data: Buffer }>(
        `SELECT data FROM pg_logical_slot_get_binary_changes($1, NULL, NULL, ${list})`,
        [slot],
      )
      return rows.map(({ data }) => decodePgoutput(data, false))
    }

    async function tableRows(): Promise<Row[]> {
      const { rows } = await client.query<Row>({
        text: 'SELECT id::text, name, large, n::text FROM m ORDER BY id',
        rowMode: 'array',
      })
      return rows
    }

    const protocols = [1, 2, 3, 4].filter((protocol) => protocol < 4 || version >= 16)
    const ways = protocols.flatMap((protocol) => [
      { protocol, binary: false },
      { protocol, binary: true },
    ])

    it.each(ways)('replays into the same rows: %o', async ({ protocol, binary }) => {
      const slot = `m_${protocol}_${binary ? 'b' : 't'}`
      await client.query('TRUNCATE m')
      await client.query(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, [slot])
      try {
        const model = new Map<string, Row>()
        await fc.assert(
          fc.asyncProperty(
            fc.array(transactionArbitrary, { minLength: 1, maxLength: 6 }),
            async (transactions) => {
              for (const { statements, commits } of transactions) await run(statements, commits)
              for (const message of await messagesOf(slot, protocol, binary)) replay(model, message)
              const replayed = [...model.values()].sort((a, b) => Number(a[0]) - Number(b[0]))
              expect(replayed).toEqual(await tableRows())
            },
          ),
          { numRuns: 12 },
        )
      } finally {
        await client.query('SELECT pg_drop_replication_slot($1)', [slot])
      }
    })

    it('tells of messages, types and the columns of a relation', async () => {
      const slot = 'm_kinds'
      await client.query(`CREATE TYPE mood AS ENUM ('well');
        CREATE TABLE k (id int PRIMARY KEY, m mood);
        ALTER PUBLICATION m ADD TABLE k`)
      await client.query(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, [slot])
      await client.query(`SELECT pg_logical_emit_message(true, 'ringfence', 'hello')`)
      await client.query(`INSERT INTO k VALUES (1, 'well')`)
      const messages = await messagesOf(slot, 1, true)
      await client.query('SELECT pg_drop_replication_slot($1)', [slot])
      const emitted = messages.find((message) => message.kind === 'message')
      expect(emitted).toMatchObject({ prefix: 'ringfence', transactional: true })
      expect(messages.find((message) => message.kind === 'type')).toMatchObject({ name: 'mood' })
      expect(messages.find((message) => message.kind === 'relation')).toMatchObject({
        schema: 'public',
        name: 'k',
        identity: 'd',
        columns: [
          { key: true, name: 'id', typeOid: 23 },
          { key: false, name: 'm' },
        ],
      })
    })
  },
)

/** A replica identity of the primary key: unchanged values come from the row as it was. */
function replay(model: Map<string, Row>, message: PgoutputMessage): void {
  switch (message.kind) {
    case 'insert': {
      const row = rowOf(message.tuple, undefined)
      model.set(String(row[0]), row)
      return
    }
    case 'update': {
      const before = rowOf(message.old?.tuple ?? message.tuple, undefined)[0]
      const row = rowOf(message.tuple, model.get(String(before)))
      model.delete(String(before))
      model.set(String(row[0]), row)
      return
    }
    case 'delete':
      model.delete(String(rowOf(message.old.tuple, undefined)[0]))
      return
    case 'truncate':
      model.clear()
      return
    default:
  }
}

function rowOf(tuple: PgoutputTuple, before: Row | undefined): Row {
  return tuple.map((value, place) => {
    if (value.kind === 'null') return null
    if (value.kind === 'unchanged') return before?.[place] ?? null
    const bytes = Buffer.from(value.bytes)
    const number = value.kind === 'binary' && (place === 0 || place === 3)
    return number ? String(bytes.readInt32BE()) : bytes.toString()
  })
}
