// How a batch of changes becomes statements: few of them, with the end that the changes have in order.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { lsn } from '../../core/lsn.ts'
import { type AppliedTable, applyTable } from '../../rebalancer/apply/applied-table.ts'
import { planByRow, planInOrder } from '../../rebalancer/apply/batch-plan.ts'
import type { Change } from '../../rebalancer/apply/changes.ts'
import type { Row, Statement } from '../../rebalancer/apply/statements.ts'
import type { ColumnFacts, TableFacts } from '../../rebalancer/apply/table-facts.ts'

const moved = { set: { vnodes: [], keys: ['1'], except: [] }, keyType: 'bigint' as const }

function column(name: string, facts: Partial<ColumnFacts> = {}): ColumnFacts {
  const type = { type: 'bigint', typeOid: 20, typmod: -1, baseOid: 20, arrayOid: 1016 }
  const kind = { generated: '', identity: '', binarySafe: true, bytewise: true }
  return { name, ...type, ...kind, ...facts }
}

function tableOf(columns: readonly ColumnFacts[]): AppliedTable {
  const facts: TableFacts = {
    schema: 'public',
    name: 't',
    columns,
    primaryKey: [{ column: 'k', equality: 'OPERATOR(pg_catalog.=)' }],
    immediate: true,
    updateRule: false,
  }
  const followed = { schema: 'public', name: 't', key: 'k', identity: ['k'], fromLsn: lsn(0n) }
  return applyTable(followed, facts, facts, 'binary')
}

const table = tableOf([column('k'), column('a'), column('b')])
const value = (number: number | null | undefined) => {
  return typeof number === 'number' ? Uint8Array.of(number) : number
}
const row = (...values: (number | null | undefined)[]): Row => values.map(value)
const insert = (...values: (number | null)[]): Change => ({
  kind: 'insert',
  table,
  row: row(...values),
})
const update = (...values: (number | null | undefined)[]): Change => ({
  kind: 'update',
  table,
  row: row(...values),
})
const remove = (k: number): Change => ({ kind: 'delete', table, row: row(k, undefined, undefined) })

/** The rows that a statement is given, with the columns that it takes. */
function takenBy({ params }: Statement): (readonly unknown[])[] {
  const [first] = params
  if (first?.kind !== 'array') return []
  return first.rows.map((each) => {
    return params.map((param) => {
      const bytes = param.kind === 'array' ? each[param.place] : undefined
      return bytes?.[0] ?? bytes
    })
  })
}

function shown(statements: readonly Statement[]): string[] {
  return statements.map((statement) => {
    return `${statement.text.split(' ')[0]} ${JSON.stringify(takenBy(statement))}`
  })
}

type Case = readonly [string, readonly Change[], readonly string[]]
const cases: readonly Case[] = [
  [
    'inserts of different rows',
    [insert(1, 1, 1), insert(2, 2, null)],
    ['INSERT [[1,1,1],[2,2,null]]'],
  ],
  ['an insert and its update', [insert(1, 1, 1), update(1, 5, undefined)], ['INSERT [[1,5,1]]']],
  [
    'an insert and its update to NULL',
    [insert(1, 1, 1), update(1, 5, null)],
    ['INSERT [[1,5,null]]'],
  ],
  ['an insert and its delete', [insert(1, 1, 1), remove(1)], ['DELETE [[1]]']],
  ['a delete and an insert of the same row', [remove(1), insert(1, 2, 3)], ['INSERT [[1,2,3]]']],
  [
    'updates that set different columns',
    [update(1, 1, undefined), update(2, 1, 2), update(3, 9, undefined)],
    ['UPDATE [[1,1],[3,9]]', 'UPDATE [[2,1,2]]'],
  ],
  [
    'updates of one row that set different columns',
    [update(1, 1, undefined), update(1, undefined, 2)],
    ['UPDATE [[1,1,2]]'],
  ],
  ['an update and a delete', [update(1, 1, 1), remove(1)], ['DELETE [[1]]']],
  [
    'deletes before what may take their place',
    [insert(2, 1, 1), remove(1)],
    ['DELETE [[1]]', 'INSERT [[2,1,1]]'],
  ],
]

describe('a batch by row', () => {
  it.each(cases)('%s', (_, changes, expected) => {
    expect(shown(planByRow(changes, moved))).toEqual(expected)
  })

  it('an update of what the batch has removed finds nothing, and is expected to find it', () => {
    for (const changes of [
      [remove(1), update(1, 2, 3)],
      [remove(1), update(1, 2, 3), update(1, 3, 4)],
    ]) {
      const statements = planByRow(changes, moved)
      expect(statements.map(({ text }) => text.split(' ')[0])).toEqual(['DELETE', 'UPDATE'])
      expect(statements[1]?.expects).toEqual({ rows: 1, table })
    }
  })

  it('a changed identity and a TRUNCATE stand between what comes before and behind', () => {
    const old = row(1, undefined, undefined)
    const rekey: Change = { kind: 'rekey', table, old, row: row(2, 5, undefined) }
    const statements = planByRow(
      [insert(1, 1, 1), rekey, insert(1, 3, 3), { kind: 'truncate', table }, insert(4, 4, 4)],
      moved,
    )
    expect(shown(statements)).toEqual([
      'INSERT [[1,1,1]]',
      'UPDATE [[2,5,2]]',
      'INSERT [[1,3,3]]',
      'DELETE []',
      'INSERT [[4,4,4]]',
    ])
    expect(statements[3]?.text).toContain(`"k" = ANY ('{"1"}'::bigint[])`)
  })

  it('tables whose equal identities may differ in bytes are never put together', () => {
    const loose = tableOf([column('k', { bytewise: false }), column('a'), column('b')])
    const changes = [insert(1, 1, 1), insert(2, 2, 2)].map((change) => ({
      ...change,
      table: loose,
    }))
    expect(planByRow(changes, moved)).toEqual(planInOrder(changes, moved))
    expect(planByRow(changes, moved).length).toBe(2)
  })

  it('ends as the changes do one by one', () => {
    const change = fc.record({
      kind: fc.constantFrom('insert', 'update', 'delete'),
      k: fc.nat(3),
      a: fc.option(fc.nat(9)),
      b: fc.option(fc.nat(9), { nil: undefined }),
    })
    fc.assert(
      fc.property(
        fc.array(change, { maxLength: 20 }),
        fc.subarray([0, 1, 2, 3]),
        (given, present) => {
          const before = new Map(present.map((k) => [k, [k, 100 + k, 100 + k] as Model]))
          const changes = possible(given, before)
          const wanted = applied(planInOrder(changes, moved), before)
          expect(applied(planByRow(changes, moved), before)).toEqual(wanted)
        },
      ),
      { numRuns: 500 },
    )
  })
})

type Model = (number | null)[]
type Wish = {
  readonly kind: string
  readonly k: number
  readonly a: number | null
  readonly b: number | undefined
}

/** Those of the wishes that a table with these rows could have made. */
function possible(wishes: readonly Wish[], before: ReadonlyMap<number, Model>): Change[] {
  const present = new Set(before.keys())
  return wishes.flatMap(({ kind, k, a, b }): Change[] => {
    if ((kind === 'insert') === present.has(k)) return []
    if (kind === 'insert') present.add(k)
    if (kind === 'delete') present.delete(k)
    if (kind === 'insert') return [insert(k, a, b ?? null)]
    return kind === 'delete' ? [remove(k)] : [update(k, a, b)]
  })
}

/** Runs statements on a model of the table; every update has to find its rows. */
function applied(statements: readonly Statement[], before: ReadonlyMap<number, Model>) {
  const rows = new Map([...before].map(([k, model]) => [k, [...model]]))
  for (const statement of statements) {
    const [first] = statement.params
    const given = first?.kind === 'array' ? first.rows : []
    for (const each of given) {
      const k = each[0]?.[0] ?? -1
      const known = rows.get(k)
      const next = each.map((bytes, at) => (bytes === undefined ? known?.[at] : bytes?.[0]) ?? null)
      if (statement.text.startsWith('DELETE')) rows.delete(k)
      else {
        const found = known !== undefined || statement.text.startsWith('INSERT')
        if (!found) throw new Error(`row ${k} is not there`)
        rows.set(k, next)
      }
    }
  }
  return rows
}
