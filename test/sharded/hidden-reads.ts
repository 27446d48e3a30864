// Makes SELECTs that every shard answers for its own rows: no key anywhere, or several, and the tables tied to each other
// in all the ways that the router follows. Reads.ts makes any SELECT, most of which go to one shard or nowhere.
import { type Column, condition, expression } from './expressions.ts'
import type { Statement } from './side.ts'
import type { Tape } from './tape.ts'
import { type Type, Values } from './values.ts'

type Table = { readonly name: string; readonly columns: readonly (readonly [string, Type])[] }

const types: readonly Type[] = ['key', 'int', 'num', 'text', 'bool', 'date', 'mood']

function table(name: string, columns: string): Table {
  const list = columns.split(' ').map((pair): readonly [string, Type] => {
    const [column = '', type = ''] = pair.split(':')
    return [column, types.find((known) => known === type) ?? 'text']
  })
  return { name, columns: list }
}

const tables: readonly [Table, ...Table[]] = [
  table('orders', 'tenant_id:key id:int user_id:int total:num status:text doubled:num'),
  table('users', 'tenant_id:key id:int email:text age:int score:num active:bool'),
  table('order_items', 'tenant_id:key order_id:int line:int quantity:int product_id:int'),
  table('tenants', 'tenant_id:key name:text parent:int feeling:mood'),
  table('events', 'tenant_id:key kind:mood at:date amount:int'),
  table('tags', 'tenant_id:key word:text'),
  table('shop.orders', 'tenant_id:key id:int note:text'),
  table('events_good', 'tenant_id:key kind:mood amount:int'),
]

/** An item of FROM. */
type Item = {
  readonly sql: string
  readonly alias: string
  readonly key: string
  readonly columns: readonly Column[]
}

/** A SELECT for all shards, or for those of a few keys. */
export function scatterStatement(tape: Tape): Statement {
  const maker = new ScatterMaker(new Values(tape, { params: true }))
  const statement = maker.values.statement(maker.statement())
  return maker.wholeRows ? { ...statement, binary: false } : statement
}

class ScatterMaker {
  readonly values: Values
  readonly #tape: Tape
  /** In binary they contain numbers of types, which differ from database to database. */
  wholeRows = false
  #aliases = 0

  constructor(values: Values) {
    this.values = values
    this.#tape = values.tape
  }

  statement(): string {
    const tape = this.#tape
    if (tape.oneIn(25)) return `TABLE ${tape.oneIn(2) ? 'ONLY ' : ''}${tape.pick(tables).name}`
    const first = this.#first()
    const { from, items } = this.#joined(first)
    const columns = items.flatMap((item) => item.columns)
    const where = this.#conditions(first, columns)
    const targets = this.#targets(items, columns)
    return `${this.#with}SELECT ${targets.join(', ')} FROM ${from}${where}`
  }

  /** WITH of the statement, once #first has decided on one. */
  #with = ''

  #first(): Item {
    const tape = this.#tape
    if (tape.mostly(4)) return this.#table()
    const inner = this.#table()
    const where = tape.oneIn(2) ? ` WHERE ${this.#condition(inner.columns, 0)}` : ''
    const query = `SELECT ${inner.alias}.* FROM ${inner.sql}${where}`
    const alias = this.#alias()
    const renamed = (column: Column) => ({ ...column, sql: column.sql.replace(/^\w+/, alias) })
    const columns = inner.columns.map(renamed)
    const key = inner.key.replace(/^\w+/, alias)
    if (tape.oneIn(2)) return { sql: `(${query}) AS ${alias}`, alias, key, columns }
    const name = tape.pick(['w', 'orders', 'users'])
    const marker = tape.pick(['', 'MATERIALIZED ', 'NOT MATERIALIZED '])
    this.#with = `WITH ${name} AS ${marker}(${query}) `
    return { sql: `${name} ${alias}`, alias, key, columns }
  }

  /** A table that no CTE hides. */
  #table(): Item {
    const tape = this.#tape
    const { name, columns: named } = tape.pick(tables)
    const alias = this.#alias()
    const only = tape.oneIn(12) ? 'ONLY ' : ''
    const as = tape.pick(['', 'AS '])
    const columns = named.map(([column, type]) => ({ sql: `${alias}.${column}`, type }))
    const qualified = name.includes('.') ? name : `public.${name}`
    return { sql: `${only}${qualified} ${as}${alias}`, alias, key: `${alias}.tenant_id`, columns }
  }

  #joined(first: Item): { readonly from: string; readonly items: readonly Item[] } {
    const tape = this.#tape
    const items = [first]
    let from = first.sql
    let isFirst = true
    while (items.length < 3 && tape.oneIn(2)) {
      const item = this.#table()
      const tie = `${item.key} = ${first.key}`
      const extra = tape.oneIn(3)
        ? ` AND ${this.#condition([...first.columns, ...item.columns], 0)}`
        : ''
      const forms = [
        () => `${from} JOIN ${item.sql} ON ${tie}${extra}`,
        () => `${from} LEFT JOIN ${item.sql} ON ${tie}${extra}`,
        () => `${from} LEFT JOIN ${this.#pair(item)} ON ${tie}${extra}`,
        () =>
          isFirst
            ? `${from} LEFT JOIN ${item.sql} USING (tenant_id)`
            : `${from} JOIN ${item.sql} ON ${tie}`,
        () =>
          isFirst
            ? `${item.sql} RIGHT JOIN ${from} ON ${tie}${extra}`
            : `${from} LEFT JOIN ${item.sql} ON ${tie}`,
        () => `${from} CROSS JOIN LATERAL (SELECT * FROM ${item.sql} WHERE ${tie}) ${item.alias}`,
        () => `${from} JOIN products ${item.alias}p ON true JOIN ${item.sql} ON ${tie}`,
      ]
      from = forms[tape.below(forms.length)]?.() ?? from
      items.push(item)
      isFirst = false
    }
    return { from, items }
  }

  /** Two tables in parentheses, of which `item` is one. */
  #pair(item: Item): string {
    const other = this.#table()
    const kind = this.#tape.pick(['JOIN', 'LEFT JOIN'])
    return `(${item.sql} ${kind} ${other.sql} ON ${other.key} = ${item.key})`
  }

  #conditions(first: Item, columns: readonly Column[]): string {
    const tape = this.#tape
    const all: string[] = []
    if (tape.oneIn(4)) {
      const keys = [this.values.key, this.values.anyKey(), this.values.anyKey()]
      all.push(`${first.key} IN (${keys.map((key) => `'${key}'`).join(', ')})`)
    }
    while (all.length < 4 && tape.oneIn(2)) all.push(this.#condition(columns, 1))
    if (tape.oneIn(3)) all.push(this.#existence(first))
    return all.length === 0 ? '' : ` WHERE ${all.join(' AND ')}`
  }

  #condition(columns: readonly Column[], depth: number): string {
    const subquery = (wanted: readonly Type[], outer: readonly Column[]) => {
      const item = this.#table()
      const key = outer.find(({ type }) => type === 'key')?.sql
      const tied = key === undefined ? '' : ` WHERE ${item.key} = ${key}`
      const targets = wanted.map((type) => expression(this.values, type, item.columns))
      return `SELECT ${targets.join(', ')} FROM ${item.sql}${tied}`
    }
    return condition(this.values, columns, subquery, depth)
  }

  #existence({ key }: Item): string {
    const tape = this.#tape
    const item = this.#table()
    const rest = tape.oneIn(2) ? ` AND ${this.#condition(item.columns, 0)}` : ''
    const tied = `FROM ${item.sql} WHERE ${item.key} = ${key}${rest}`
    return tape.pick([
      `EXISTS (SELECT 1 ${tied})`,
      `NOT EXISTS (SELECT ${tied})`,
      `${key} IN (SELECT ${item.key} FROM ${item.sql} WHERE true${rest})`,
      `(SELECT count(*) ${tied}) > 1`,
      `(SELECT max(tenant_id) ${tied}) IS NOT NULL`,
    ])
  }

  #targets(items: readonly Item[], columns: readonly Column[]): readonly string[] {
    const tape = this.#tape
    const targets: string[] = []
    do {
      const item = items[tape.below(items.length)]
      const key = items[0]?.key ?? '1'
      const other = this.#table()
      const forms = [
        () => expression(this.values, tape.pick(['key', 'int', 'text', 'num', 'mood']), columns),
        () => `${item?.alias}.*`,
        () => this.#wholeRow(item?.alias ?? ''),
        () => `to_json(${item?.alias})`,
        () => `(SELECT count(*) FROM ${other.sql} WHERE ${other.key} = ${key})`,
        () => `ARRAY(SELECT ${other.key} FROM ${other.sql} WHERE ${other.key} = ${key})`,
      ]
      targets.push(forms[tape.below(forms.length)]?.() ?? '*')
    } while (targets.length < 4 && tape.oneIn(2))
    return targets
  }

  #wholeRow(alias: string): string {
    this.wholeRows = true
    return alias
  }

  #alias(): string {
    this.#aliases += 1
    return `t${this.#aliases}`
  }
}
