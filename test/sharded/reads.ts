// Makes SELECTs over the shop's tables: joins on and off the key, subqueries everywhere, CTEs, set
// operations, aggregates. Only what has one right answer: no LIMIT without a total order, no dice,
// no clocks.
import { type Column, condition, expression, keyCondition } from './expressions.ts'
import type { Statement } from './side.ts'
import type { Tape } from './tape.ts'
import { type Type, Values } from './values.ts'

type Table = {
  readonly name: string
  readonly key: boolean
  readonly columns: readonly (readonly [string, Type])[]
}

const sharded: readonly Table[] = [
  table('users', 'tenant_id:key id:int email:text age:int score:num active:bool'),
  table('orders', 'tenant_id:key id:int user_id:int total:num status:text doubled:num'),
  table('order_items', 'tenant_id:key order_id:int line:int quantity:int product_id:int'),
  table('tenants', 'tenant_id:key name:text parent:int feeling:mood'),
  table('events', 'tenant_id:key kind:mood at:date amount:int'),
  table('tags', 'tenant_id:key word:text'),
  table('shop.orders', 'tenant_id:key id:int note:text'),
  table('events_good', 'tenant_id:key kind:mood amount:int'),
]
const reference: readonly Table[] = [
  table('products', 'id:int name:text price:num'),
  table('cheap_products', 'id:int name:text price:num'),
]
const others: readonly Table[] = [
  table('settings', 'name:text value:text'),
  table('plain_settings', 'name:text value:text'),
  table('active_users', 'id:int email:text'),
]

function table(name: string, columns: string): Table {
  const list = columns.split(' ').map((pair): readonly [string, Type] => {
    const [column = '', type = ''] = pair.split(':')
    return [column, typeNamed(type)]
  })
  return { name, key: list.some(([, type]) => type === 'key'), columns: list }
}

function typeNamed(name: string): Type {
  const types: readonly Type[] = ['key', 'int', 'num', 'text', 'bool', 'date', 'mood']
  return types.find((type) => type === name) ?? 'text'
}

/** One item of FROM with the columns that it brings into sight. */
type Item = { readonly sql: string; readonly alias: string; readonly columns: readonly Column[] }

type QueryOptions = {
  /** Output types; any when null. */
  readonly types: readonly Type[] | null
  readonly outer: readonly Column[]
  readonly depth: number
}

/** A SELECT, ordered in full when the statement says so. */
export function readStatement(tape: Tape): Statement {
  const values = new Values(tape, { params: true })
  const maker = new QueryMaker(values)
  const { sql, width } = maker.statement()
  const numbers = Array.from({ length: width }, (_, at) => at + 1).join(', ')
  if (tape.mostly(5)) return values.statement(sql)
  const window = tape.pick([
    '',
    ' LIMIT 3',
    ' LIMIT 2 OFFSET 1',
    ' OFFSET 1',
    ' FETCH FIRST 2 ROWS ONLY',
  ])
  return values.statement(`${sql} ORDER BY ${numbers}${window}`, true)
}

/** Writes the queries of one statement. */
export class QueryMaker {
  readonly #values: Values
  readonly #tape: Tape
  readonly #ctes: { name: string; types: readonly Type[] }[] = []
  #aliases = 0

  constructor(values: Values) {
    this.#values = values
    this.#tape = values.tape
  }

  /** A whole statement and the number of its columns. */
  statement(): { readonly sql: string; readonly width: number } {
    const tape = this.#tape
    let prefix = ''
    if (tape.oneIn(5)) {
      const types = this.#types()
      const names = types.map((_, at) => `k${at + 1}`).join(', ')
      const marker = tape.pick(['', 'MATERIALIZED ', 'NOT MATERIALIZED '])
      prefix = `WITH w (${names}) AS ${marker}(${this.query({ types, outer: [], depth: 1 })}) `
      this.#ctes.push({ name: 'w', types })
    }
    const types = this.#types()
    if (tape.mostly(7)) {
      return { sql: `${prefix}${this.query({ types, outer: [], depth: 2 })}`, width: types.length }
    }
    const arm = () => this.query({ types, outer: [], depth: 1 })
    const operation = tape.pick(['UNION ALL', 'UNION', 'INTERSECT', 'EXCEPT', 'EXCEPT ALL'])
    return { sql: `${prefix}${arm()} ${operation} ${arm()}`, width: types.length }
  }

  /** One SELECT. */
  query({ types, outer, depth }: QueryOptions): string {
    const tape = this.#tape
    const items = this.#from(depth, outer)
    const columns = items.flatMap((item) => item.columns)
    const seen = [...columns, ...outer]
    const subquery = this.#subquery(depth - 1)
    const conditions = this.#keyConditions(items, outer, depth)
    while (tape.oneIn(3) && conditions.length < 5) {
      conditions.push(condition(this.#values, seen, subquery, depth))
    }
    const where = conditions.length === 0 ? '' : ` WHERE ${conditions.join(' AND ')}`
    const from = ` FROM ${items.map(({ sql }) => sql).join(' ')}`
    const wanted = types ?? this.#types()
    if (tape.oneIn(8)) return this.#aggregate(wanted, columns, `${from}${where}`)
    const distinct = tape.oneIn(10) ? 'DISTINCT ' : ''
    const targets = wanted.map((type) => this.#target(type, seen, depth))
    return `SELECT ${distinct}${targets.join(', ')}${from}${where}`
  }

  #target(type: Type, columns: readonly Column[], depth: number): string {
    const tape = this.#tape
    if (depth > 0 && tape.oneIn(15)) {
      const inner = this.query({ types: [type], outer: columns, depth: depth - 1 })
      return `(${inner} ORDER BY 1 LIMIT 1)`
    }
    return expression(this.#values, type, columns)
  }

  #aggregate(types: readonly Type[], columns: readonly Column[], rest: string): string {
    const tape = this.#tape
    const groups: string[] = []
    const targets = types.map((type) => {
      const value = expression(this.#values, type, columns)
      if (type === 'int' && tape.oneIn(2)) return `${tape.pick(['sum', 'max'])}(${value})::integer`
      if (type === 'int' && tape.oneIn(2)) return 'count(*)::integer'
      if (type === 'num' && tape.oneIn(2)) return `sum(${value})::numeric(12,2)`
      if (type === 'text' && tape.oneIn(2)) return `max(${value})`
      groups.push(value)
      return value
    })
    const names = groups.filter((group) => /^[a-z]\w*\.\w+$/.test(group))
    const by = names.length > 0 ? ` GROUP BY ${names.join(', ')}` : ''
    const having = by !== '' && tape.oneIn(4) ? ' HAVING count(*) > 1' : ''
    return `SELECT ${targets.join(', ')}${rest}${by}${having}`
  }

  #types(): readonly Type[] {
    const tape = this.#tape
    const count = 1 + tape.below(3)
    return Array.from({ length: count }, () =>
      tape.pick<Type>(['key', 'int', 'text', 'num', 'bool', 'date', 'mood']),
    )
  }

  #subquery(depth: number) {
    return (types: readonly Type[], outer: readonly Column[]) =>
      this.query({ types, outer, depth: Math.max(depth, 0) })
  }

  #keyConditions(items: readonly Item[], outer: readonly Column[], depth: number): string[] {
    const tape = this.#tape
    const keysOf = (columns: readonly Column[]) => columns.filter(({ type }) => type === 'key')
    const conditions: string[] = []
    const outerKey = keysOf(outer)[0]
    for (const [at, { columns }] of items.entries()) {
      const key = keysOf(columns)[0]
      if (key === undefined) continue
      const often = at === 0 ? tape.mostly(5) : tape.oneIn(4)
      if (!often) continue
      const tie = outerKey !== undefined && tape.oneIn(2)
      conditions.push(
        tie
          ? `${key.sql} = ${outerKey.sql}`
          : keyCondition(this.#values, key.sql, this.#subquery(depth - 1)),
      )
    }
    return conditions
  }

  #from(depth: number, outer: readonly Column[]): Item[] {
    const tape = this.#tape
    const items = [this.#item(depth)]
    while (items.length < 3 && tape.oneIn(3)) items.push(this.#join(items, depth, outer))
    return items
  }

  #join(items: readonly Item[], depth: number, outer: readonly Column[]): Item {
    const tape = this.#tape
    const before = items.flatMap(({ columns }) => columns)
    const lateral = depth > 0 && tape.oneIn(8)
    const item = lateral ? this.#derived(depth - 1, [...before, ...outer], true) : this.#item(depth)
    const kind = tape.oneIn(3)
      ? tape.pick(['LEFT JOIN', 'LEFT JOIN', 'RIGHT JOIN', 'FULL JOIN', 'CROSS JOIN', ','])
      : 'JOIN'
    const legal = lateral && /RIGHT|FULL/.test(kind) ? 'LEFT JOIN' : kind
    if (legal === ',' || legal === 'CROSS JOIN') return { ...item, sql: `CROSS JOIN ${item.sql}` }
    const keyed = item.columns.find(({ type }) => type === 'key')
    const earlier = before.filter(({ type }) => type === 'key')
    const partner = earlier[tape.below(Math.max(earlier.length, 1))]
    const on: string[] = []
    if (keyed !== undefined && partner !== undefined && tape.mostly(5)) {
      const pair = `${partner.sql} = ${keyed.sql}`
      on.push(tape.mostly(8) ? pair : `(${partner.sql}, 1) = (${keyed.sql}, 1)`)
    }
    const constant = [keyed, partner][tape.below(2)]
    if (constant !== undefined && tape.oneIn(kind === 'JOIN' ? 8 : 3)) {
      on.push(`${constant.sql} = ${this.#values.keyLiteral(this.#values.key)}`)
    }
    if (on.length === 0 || tape.oneIn(3)) {
      // A FULL JOIN needs a condition that can be merged or hashed.
      const int = (list: readonly Column[]) => expression(this.#values, 'int', list)
      on.push(`${int(before)} = ${int(item.columns)}`)
    }
    return { ...item, sql: `${legal} ${item.sql} ON ${on.join(' AND ')}` }
  }

  #item(depth: number): Item {
    const tape = this.#tape
    if (depth > 0 && tape.oneIn(7)) return this.#derived(depth - 1, [], false)
    const cte = this.#ctes[0]
    if (cte !== undefined && tape.oneIn(2)) {
      const alias = this.#alias()
      const columns = cte.types.map((type, at) => ({ sql: `${alias}.k${at + 1}`, type }))
      return { sql: `${cte.name} ${alias}`, alias, columns }
    }
    if (tape.oneIn(25)) return this.#rowsItem()
    const list = tape.oneIn(7) ? (tape.oneIn(4) ? others : reference) : sharded
    const found = list[tape.below(list.length)]
    if (found === undefined) return this.#rowsItem()
    const alias = this.#alias()
    const columns = found.columns.map(([name, type]) => ({ sql: `${alias}.${name}`, type }))
    const as = tape.pick(['', 'AS '])
    return { sql: `${found.name} ${as}${alias}`, alias, columns }
  }

  #rowsItem(): Item {
    const alias = this.#alias()
    const key = `${this.#values.keyLiteral(this.#values.key)}::bigint`
    const columns: Column[] = [
      { sql: `${alias}.k1`, type: 'key' },
      { sql: `${alias}.k2`, type: 'int' },
    ]
    return { sql: `(VALUES (${key}, 1), (${key}, 2)) ${alias} (k1, k2)`, alias, columns }
  }

  #derived(depth: number, outer: readonly Column[], lateral: boolean): Item {
    const tape = this.#tape
    const types: readonly Type[] = tape.mostly(4) ? ['key', ...this.#types()] : this.#types()
    const alias = this.#alias()
    const limit = tape.oneIn(8)
      ? ` ORDER BY ${types.map((_, at) => at + 1).join(', ')} LIMIT 2`
      : ''
    const query = this.query({ types, outer, depth })
    const names = types.map((_, at) => `k${at + 1}`)
    return {
      sql: `${lateral ? 'LATERAL ' : ''}(${query}${limit}) ${alias} (${names.join(', ')})`,
      alias,
      columns: types.map((type, at) => ({ sql: `${alias}.k${at + 1}`, type })),
    }
  }

  #alias(): string {
    this.#aliases += 1
    return `t${this.#aliases}`
  }
}
