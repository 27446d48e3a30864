// Shard keys of type text and uuid: whatever way a key is written, its row lies where the
// database's own arithmetic puts it and is found again.
import { assert, asyncProperty } from 'fast-check'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { ShardingRules } from '../../router/schema.ts'
import { startStack, type Stack } from '../support/stack.ts'
import { Contents, type WatchedTable } from './contents.ts'
import { Pair } from './pair.ts'
import { parameters, runSeed, timeoutMs } from './run-seeds.ts'
import type { Param, Statement } from './side.ts'
import { type Tape, Tape as TapeOf, tapes } from './tape.ts'

const schemaOf = (type: string) => `
CREATE TABLE notes (id integer, owner ${type} NOT NULL, body text, PRIMARY KEY (owner, id))

CREATE TABLE people (name ${type} PRIMARY KEY, age integer)

CREATE TABLE short_notes (owner ${type === 'text' ? 'varchar(5)' : type} NOT NULL, id integer)

CREATE TABLE products (id integer PRIMARY KEY, owner ${type})
`
const tables: readonly WatchedTable[] = [
  { name: 'notes', placement: 'sharded', key: 'owner', columns: ['owner', 'id', 'body'] },
  { name: 'people', placement: 'sharded', key: 'name', columns: ['name', 'age'] },
  { name: 'short_notes', placement: 'sharded', key: 'owner', columns: ['owner', 'id'] },
  { name: 'products', placement: 'reference', columns: ['id', 'owner'] },
]
const texts = [
  'a',
  'A',
  '',
  ' ',
  'a ',
  'ab',
  'abcde',
  'abcdef',
  'abcde  ',
  "it's",
  '\\x61',
  'x\ty',
  '$1',
  'ä',
  // Its last byte is A0.
  'à',
  'à\u00a0',
  'a\u0308',
  'ß',
  '€uro',
  '🙂',
  '日本',
  '0',
  '5',
  '05',
  'null',
  'NULL',
  'a"b',
  '{a}',
  'a,b',
] as const
const uuids = [
  '00000000-0000-0000-0000-000000000000',
  'ffffffff-ffff-ffff-ffff-ffffffffffff',
  'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
  '12345678-1234-4234-8234-123456789abc',
  'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A12',
  '{a0eebc999c0b4ef8bb6d6bb9bd380a13}',
  'a0eebc999c0b4ef8bb6d6bb9bd380a14',
  'a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a15',
  'no uuid',
] as const

const quoted = (key: string) => `'${key.replaceAll("'", "''")}'`
const escaped = (key: string) => `E'${key.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
const unicode = (key: string) => {
  const points = Array.from(key, (char) => (char.codePointAt(0) ?? 0).toString(16))
  return `U&'${points.map((point) => `\\+${point.padStart(6, '0')}`).join('')}'`
}

/** The key as a literal or a parameter. */
function keyIn(tape: Tape, keyType: 'text' | 'uuid', params: Param[]): string {
  const key = keyType === 'text' ? tape.pick([...texts]) : tape.pick([...uuids])
  const bound = (type: number, format: 0 | 1, value: Buffer) => {
    params.push({ type, format, value })
    return `$${params.length}`
  }
  const hex = key.replaceAll(/[^\da-f]/gi, '')
  const other = keyType === 'text' ? 'varchar' : 'text::uuid'
  const forms = [
    () => quoted(key),
    () => escaped(key),
    () => unicode(key),
    () => `$body$${key}$body$`,
    () => `${quoted(key)}::${keyType}`,
    () => `${quoted(key)}::${other}`,
    () => `CAST(${quoted(key)} AS ${keyType})`,
    () => `${keyType} ${quoted(key)}`,
    () => `(${quoted(key)} || '')::${keyType}`,
    () => `lower(${quoted(key)})::${keyType}`,
    () => bound(0, 0, Buffer.from(key)),
    () => bound(keyType === 'text' ? 25 : 2950, 0, Buffer.from(key)),
    () => bound(1043, 1, Buffer.from(key)),
    () => (keyType === 'text' ? bound(25, 1, Buffer.from(key)) : uuidBytes()),
    () => `${quoted(key)}::char(5)`,
    () => (keyType === 'text' ? `${quoted(key)} COLLATE "C"` : quoted(key.toUpperCase())),
  ]
  const uuidBytes = () => bound(2950, 1, Buffer.from(hex.padEnd(32, '0').slice(0, 32), 'hex'))
  return forms[tape.below(forms.length)]?.() ?? quoted(key)
}

function statementOf(tape: Tape, keyType: 'text' | 'uuid'): Statement {
  const params: Param[] = []
  const key = () => keyIn(tape, keyType, params)
  const id = () => 1 + tape.below(4)
  const list = () => {
    const keys = keyType === 'text' ? ['a', 'ä', 'A'] : uuids.slice(0, 3)
    return `'{${keys.join(',')}}'`
  }
  const forms = [
    () => `INSERT INTO notes (owner, id, body) VALUES (${key()}, ${id()}, 'b')`,
    () => `INSERT INTO notes (id, owner) VALUES (${id()}, ${key()}) ON CONFLICT DO NOTHING`,
    () => `INSERT INTO people VALUES (${key()}, ${id()}) RETURNING name, age`,
    () => `INSERT INTO short_notes VALUES (${key()}, ${id()})`,
    () => `INSERT INTO products VALUES (${10 + tape.below(50)}, ${key()})`,
    () => `SELECT id, owner FROM notes WHERE owner = ${key()}`,
    () => `SELECT age FROM people WHERE ${key()} = name`,
    () => `SELECT id, owner FROM short_notes WHERE owner = ${key()}`,
    () => `SELECT id FROM notes WHERE owner IN (${key()}, ${key()})`,
    () => `SELECT id FROM notes WHERE owner = ANY (${list()})`,
    () => `SELECT id FROM notes WHERE owner = ANY (${list()}::${keyType}[])`,
    () => `SELECT n.id FROM notes n JOIN people p ON p.name = n.owner WHERE p.name = ${key()}`,
    () => `SELECT n.id, s.id FROM notes n JOIN short_notes s ON s.owner = n.owner`,
    () => `SELECT id FROM notes WHERE owner::text LIKE 'a%'`,
    () => `SELECT id FROM notes WHERE owner > ${key()}`,
    () => `UPDATE notes SET body = 'c' WHERE owner = ${key()} RETURNING id`,
    () => `UPDATE short_notes SET id = id + 1 WHERE owner = ${key()}`,
    () => `DELETE FROM notes WHERE owner = ${key()} AND id = ${id()}`,
    () => `INSERT INTO people SELECT owner, id FROM notes WHERE owner = ${key()} LIMIT 1`,
    () => `INSERT INTO notes SELECT 7, ${key()}, 'x'`,
    () => `INSERT INTO short_notes SELECT owner, id FROM notes WHERE owner = ${key()}`,
  ]
  const sql = forms[tape.below(forms.length)]?.() ?? ''
  return { sql, params: params.length > 0 || tape.oneIn(4) ? params : null }
}

describe.each(inject('servers'))('shard keys on PostgreSQL $version', (servers) => {
  describe.each(['text', 'uuid'] as const)('of type %s', (keyType) => {
    let stack: Stack
    let pair: Pair
    let contents: Contents

    beforeAll(async () => {
      const rules: Partial<ShardingRules> = {
        key: 'owner',
        keyType,
        tables: new Map([
          ['products', { placement: 'reference' } as const],
          ['people', { key: 'name' }],
        ]),
      }
      stack = await startStack(servers, { shards: 3, setupSql: schemaOf(keyType), rules })
      pair = await Pair.open(stack)
      contents = await Contents.open(stack, tables)
    })
    afterAll(async () => {
      pair?.close()
      await contents?.close()
      await stack?.close()
    })

    it('mean the same to proxy and database', { timeout: timeoutMs }, async () => {
      const counts = { same: 0, failed: 0, refused: 0 }
      const property = asyncProperty(tapes(20), async (numbers) => {
        await pair.settle()
        const statement = statementOf(new TapeOf(numbers), keyType)
        const verdict = await pair.run(statement)
        const params = statement.params?.map(({ value }) => String(value)).join(' | ')
        const told = `${statement.sql}\n${params}`
        if (verdict.kind === 'different') throw new Error(`${told}\n${verdict.what}`)
        if (verdict.kind === 'refused') counts.refused += 1
        else if (verdict.reply.error === null) counts.same += 1
        else counts.failed += 1
        const faults = await contents.faults()
        if (faults.length > 0) throw new Error(`${told}\n${faults.join('\n')}`)
      })
      await assert(property, { ...parameters(300), endOnFailure: true })
      process.stdout.write(`${keyType} keys: seed ${runSeed}: ${JSON.stringify(counts)}\n`)
      expect(counts.same).toBeGreaterThan(counts.failed)
    })

    it('are found in a list, whatever bytes they end with', async () => {
      await pair.settle()
      const keys = Array.from(
        { length: 48 },
        (_, at) => `${at % 8}${'àáÀ\u00a0\u0085…'.charAt(at >> 3)}`,
      )
      for (const [at, key] of keys.entries()) {
        const sql = `INSERT INTO notes (owner, id) VALUES ('${key}', ${at + 100})`
        expect(await pair.run({ sql, params: null })).toMatchObject({ kind: 'same' })
      }
      for (const [at, key] of keys.entries()) {
        const next = keys[at + 1] ?? 'none'
        for (const list of [`{${key}}`, `{ ${key} ,"${next}"}`]) {
          const sql = `SELECT id FROM notes WHERE owner = ANY ('${list}')`
          expect({ sql, ...(await pair.run({ sql, params: null })) }).toMatchObject({
            kind: 'same',
          })
        }
      }
    })
  })
})
