// Makes statements that change rows of the shop: sharded, reference and home tables, in all of
// SQL's ways. Values that a server draws for itself (identity, uuid, time) are never returned: they
// need not be equal on both sides.
import { type Column, condition, keyCondition } from './expressions.ts'
import { QueryMaker } from './reads.ts'
import type { Statement } from './side.ts'
import type { Tape } from './tape.ts'
import { Values } from './values.ts'

type Writer = (values: Values) => string | Statement

/** What a program's server understands. */
export type WriteOptions = { readonly version: number; readonly params: boolean }

/** A statement that writes, or tries to. */
export function writeStatement(tape: Tape, { version, params }: WriteOptions): Statement {
  const values = new Values(tape, { params })
  const writers = version >= 17 ? [...everyVersion, mergeReturning] : everyVersion
  const made = writers[tape.below(writers.length)]?.(values) ?? ''
  return typeof made === 'string' ? values.statement(made) : made
}

const userColumns: readonly Column[] = [
  { sql: 'users.tenant_id', type: 'key' },
  { sql: 'users.id', type: 'int' },
  { sql: 'users.email', type: 'text' },
  { sql: 'users.age', type: 'int' },
  { sql: 'users.score', type: 'num' },
  { sql: 'users.active', type: 'bool' },
]

const subqueryOf =
  (values: Values) =>
  (types: Parameters<QueryMaker['query']>[0]['types'], outer: readonly Column[]): string =>
    new QueryMaker(values).query({ types, outer, depth: 0 })

const key = (values: Values): string => values.keyLiteral(values.key)

function where(values: Values, columns: readonly Column[]): string {
  const { tape } = values
  const column = columns[0]?.sql ?? ''
  const parts = tape.mostly(6) ? [keyCondition(values, column, subqueryOf(values))] : []
  while (tape.oneIn(2) && parts.length < 3) {
    parts.push(condition(values, columns, subqueryOf(values), tape.below(2)))
  }
  return parts.length === 0 ? '' : ` WHERE ${parts.join(' AND ')}`
}

function returning(values: Values, columns: string): string {
  return values.tape.oneIn(3) ? ` RETURNING ${columns}` : ''
}

const id = ({ tape }: Values): number => 1 + tape.below(6)

function insertUser(values: Values): string {
  const { tape } = values
  const email = values.literal('text')
  const row = tape.pick([
    () => `(tenant_id, id, email) VALUES (${key(values)}, ${id(values)}, ${email})`,
    () => `(id, email, tenant_id) VALUES (${id(values)}, ${email}, ${key(values)})`,
    () => `VALUES (${id(values)}, ${key(values)}, ${email}, 30, DEFAULT, DEFAULT)`,
    () =>
      `AS u (tenant_id, id, score) VALUES (${key(values)}, ${id(values)},
        ${values.literal('num')})`,
    () => `(id, tenant_id) SELECT ${id(values)}, ${key(values)}`,
    () => `(id) VALUES (${id(values)})`,
    () => `(id, tenant_id) VALUES (${id(values)}, DEFAULT)`,
    () => `(id, tenant_id) VALUES (${id(values)}, NULL)`,
  ])()
  return `INSERT INTO users ${row}${returning(values, 'tenant_id, id, email, score')}`
}

function insertMany(values: Values): string {
  const { tape } = values
  const other = tape.oneIn(4) ? values.keyLiteral(values.anyKey()) : key(values)
  const rows = [`(${key(values)}, ${id(values)}, 41)`, `(${other}, ${id(values)}, 42)`]
  if (tape.oneIn(2)) rows.push(`(${key(values)}, ${id(values)}, NULL)`)
  const conflict = tape.oneIn(2) ? ' ON CONFLICT DO NOTHING' : ''
  return `INSERT INTO users (tenant_id, id, age) VALUES ${rows.join(', ')}${conflict}`
}

function insertOrder(values: Values): string {
  const { tape } = values
  const table = tape.pick(['orders', 'shop.orders', 'public.orders'])
  return `INSERT INTO ${table} (id, tenant_id) VALUES (${id(values)},
    ${key(values)})${returning(values, 'tenant_id, id')}`
}

function insertDrawn(values: Values): string {
  const { tape } = values
  const mood = tape.pick(["'ok'", "'sad'", "'happy'"])
  return tape.pick([
    `INSERT INTO events (tenant_id, kind, amount) VALUES (${key(values)}, ${mood}, ${id(values)})`,
    `INSERT INTO events VALUES (DEFAULT, ${mood}, '2024-01-01', ${key(values)}, 5)
      RETURNING kind, amount`,
    `INSERT INTO tags (tenant_id, word) VALUES (${key(values)}, ${values.literal('text')})`,
    `INSERT INTO tags (word, tenant_id) SELECT word || 'x', tenant_id FROM tags
      WHERE tenant_id = ${key(values)}`,
  ])
}

function smallKey(values: Values): string {
  const { tape } = values
  return tape.pick([
    `INSERT INTO order_items (tenant_id, order_id, line, product_id) VALUES (${key(values)}, 9,
      ${id(values)}, 1)`,
    `UPDATE tags SET word = word || '!' WHERE tenant_id = ${key(values)} RETURNING word`,
    `UPDATE order_items SET quantity = quantity + 500 WHERE tenant_id = ${key(values)}`,
    `DELETE FROM order_items USING products p
      WHERE p.id = product_id AND tenant_id = ${key(values)}`,
  ])
}

function insertSelect(values: Values): string {
  const { tape } = values
  const source = keyCondition(values, 'o.tenant_id', subqueryOf(values))
  const columns = tape.pick(['o.tenant_id', 'o.tenant_id', key(values), 'o.tenant_id + 0', 'o.id'])
  const conflict = tape.oneIn(3) ? ' ON CONFLICT (tenant_id, id) DO NOTHING' : ''
  return `INSERT INTO users (tenant_id, id, age) SELECT ${columns}, o.id + 3, 7 FROM orders o
    WHERE ${source}${conflict}`
}

function upsertUser(values: Values): string {
  const { tape } = values
  const action = tape.pick([
    'DO NOTHING',
    'DO UPDATE SET age = excluded.age, email = NULL',
    'DO UPDATE SET age = users.age + excluded.age WHERE users.age > 21',
    'DO UPDATE SET tenant_id = excluded.tenant_id, age = 3',
    `DO UPDATE SET tenant_id = ${key(values)}`,
    'DO UPDATE SET score = (SELECT max(price) FROM products)',
  ])
  const target = tape.pick([
    ' (tenant_id, id)',
    ' (id, tenant_id)',
    ' ON CONSTRAINT users_pkey',
    '',
  ])
  const fitting = target === '' ? 'DO NOTHING' : action
  return `INSERT INTO users (tenant_id, id, age) VALUES (${key(values)}, ${id(values)}, 50)
    ON CONFLICT${target} ${fitting}${returning(values, 'id, age')}`
}

function updateUsers(values: Values): string {
  const { tape } = values
  const set = tape.pick([
    'age = age + 1',
    `email = ${values.literal('text')}`,
    `(age, active) = (SELECT 1, false)`,
    `(age, score) = ROW(${id(values)}, DEFAULT)`,
    'score = DEFAULT, active = NOT active',
    'age = (SELECT count(*) FROM products)',
    'age = (SELECT max(id) FROM orders o WHERE o.tenant_id = users.tenant_id)',
    'age = 1 / (age - age)',
  ])
  return `UPDATE users SET ${set}${where(values, userColumns)}${returning(values, '*')}`
}

function updateFrom(values: Values): string {
  const { tape } = values
  const tie = tape.pick([
    'o.tenant_id = users.tenant_id AND o.id = users.id',
    'users.tenant_id = o.tenant_id AND (o.id, 1) = (users.id, 1)',
    'o.id = users.id',
  ])
  const condition = keyCondition(
    values,
    tape.pick(['users.tenant_id', 'o.tenant_id']),
    subqueryOf(values),
  )
  return `UPDATE users SET age = o.id + 100, email = o.status FROM orders o
    WHERE ${tie} AND ${condition}`
}

function deleteRows(values: Values): string {
  const { tape } = values
  const target = tape.pick(['', '', 'ONLY '])
  if (tape.oneIn(4)) {
    const condition = keyCondition(values, 'o.tenant_id', subqueryOf(values))
    return `DELETE FROM orders o USING users u
      WHERE u.tenant_id = o.tenant_id AND u.id = o.user_id AND ${condition}
      ${returning(values, 'o.id, u.email')}`
  }
  return `DELETE FROM ${target}users${where(values, userColumns)}${returning(values, 'id, email')}`
}

function cascade(values: Values): string {
  const { tape } = values
  const condition = keyCondition(values, 'tenant_id', subqueryOf(values))
  return tape.pick([
    `DELETE FROM tenants WHERE ${condition}`,
    `UPDATE tenants SET feeling = 'sad' WHERE ${condition} RETURNING name`,
    `DELETE FROM events WHERE ${condition}`,
    `UPDATE events SET kind = 'sad' WHERE ${condition} AND kind = 'ok'`,
    `UPDATE events SET amount = amount + 1 WHERE ${condition} RETURNING amount, kind`,
    `DELETE FROM events_good WHERE ${condition}`,
  ])
}

function mergeUsers(values: Values): string {
  const { tape } = values
  const source = tape.pick([
    `(VALUES (${key(values)}::bigint, ${id(values)})) s (tenant_id, id)`,
    `(SELECT tenant_id, id FROM orders WHERE tenant_id = ${key(values)}) s`,
    'orders s',
  ])
  const tie = tape.pick(['s.tenant_id = users.tenant_id AND s.id = users.id', 's.id = users.id'])
  const extra = tape.oneIn(3) ? ` AND users.tenant_id = ${key(values)}` : ''
  const matched = tape.pick([
    'UPDATE SET age = 77',
    'DELETE',
    'DO NOTHING',
    'UPDATE SET tenant_id = s.tenant_id',
  ])
  const inserted = tape.pick([
    'INSERT (tenant_id, id) VALUES (s.tenant_id, s.id)',
    'INSERT (id, tenant_id) VALUES (s.id, s.tenant_id + 0)',
    `INSERT (id, tenant_id) VALUES (s.id, ${key(values)})`,
    'DO NOTHING',
  ])
  return `MERGE INTO users USING ${source} ON ${tie}${extra} WHEN MATCHED THEN ${matched}
    WHEN NOT MATCHED THEN ${inserted}`
}

function mergeReturning(values: Values): string {
  const { tape } = values
  const gone = tape.pick([
    '',
    ` WHEN NOT MATCHED BY SOURCE AND users.tenant_id = ${key(values)} THEN DELETE`,
  ])
  return `${mergeUsers(values)}${gone} RETURNING merge_action(), users.id`
}

function writingCte(values: Values): string {
  const { tape } = values
  const inner = tape.pick([
    `DELETE FROM users WHERE tenant_id = ${key(values)} RETURNING tenant_id, id, age`,
    `UPDATE users SET age = 8 WHERE tenant_id = ${key(values)} RETURNING tenant_id, id, age`,
    `INSERT INTO users (tenant_id, id) VALUES (${key(values)}, 9) RETURNING tenant_id, id, age`,
    "UPDATE settings SET value = 'x' RETURNING 3 AS tenant_id, 1 AS id, 2 AS age",
    'UPDATE products SET price = price + 1 RETURNING 3 AS tenant_id, id, 2 AS age',
  ])
  const outer = tape.pick([
    'SELECT id, age FROM w',
    'SELECT w.id, o.status FROM w JOIN orders o USING (tenant_id)',
    'INSERT INTO shop.orders (tenant_id, id) SELECT tenant_id, id + 10 FROM w',
    `UPDATE orders SET status = 'seen' FROM w
      WHERE w.tenant_id = orders.tenant_id AND orders.id = w.id`,
    `SELECT w.id FROM w, users u WHERE u.tenant_id = ${key(values)}`,
    "INSERT INTO settings SELECT 'from w ' || id, 'y' FROM w",
  ])
  return `WITH w AS (${inner}) ${outer}`
}

function referenceInsert(values: Values): string {
  const { tape } = values
  const number = 10 + tape.below(4)
  return tape.pick([
    `INSERT INTO products (id, name) VALUES (${number}, ${values.literal('text')})
      RETURNING id, name, price`,
    `INSERT INTO products (name, id, price) VALUES ('a', ${number}, 1), ('b', ${number + 1},
      ${values.literal('num')})`,
    `INSERT INTO products VALUES (${number}, 'c', DEFAULT, DEFAULT, DEFAULT, DEFAULT)`,
    `INSERT INTO products (id, name, made) VALUES (${number}, 'd', now()), (${number + 1}, 'e',
      'now')`,
    `INSERT INTO products (id, name, code) VALUES (${number}, 'f', gen_random_uuid())`,
    `INSERT INTO products (id, name, code, made, number) SELECT id + 10, name, code, made, 99
      FROM products WHERE id < 3`,
    `INSERT INTO products (id, name) SELECT id + 10, name FROM products`,
    `INSERT INTO products (id, name, price) SELECT 50, 'g', count(*) FROM users`,
  ])
}

function referenceUpsert(values: Values): string {
  const { tape } = values
  return `INSERT INTO products AS p (id, name) VALUES (${id(values)}, 'z')
    ON CONFLICT (id) ${tape.pick([
      'DO NOTHING',
      'DO UPDATE SET price = p.price + 1',
      'DO UPDATE SET name = excluded.name, made = now()',
      'DO UPDATE SET number = DEFAULT',
    ])} RETURNING id, name, price`
}

function referenceUpdate(values: Values): string {
  const { tape } = values
  const condition = tape.pick([
    '',
    ` WHERE id = ${id(values)}`,
    ' WHERE price > 2',
    ' WHERE id IN (SELECT id FROM cheap_products)',
  ])
  const set = tape.pick([
    'price = price + 1',
    `name = ${values.literal('text')}`,
    'made = now()',
    'code = gen_random_uuid()',
    'price = (SELECT max(price) FROM products)',
    "number = nextval('products_number_seq')",
    'price = (SELECT count(*) FROM orders WHERE tenant_id = 3)',
    "made = statement_timestamp() - interval '1 day', price = -1",
  ])
  return `UPDATE products SET ${set}${condition}${returning(values, 'id, name, price')}`
}

function referenceDelete(values: Values): string {
  const { tape } = values
  return tape.pick([
    `DELETE FROM products WHERE id = ${id(values)}`,
    'DELETE FROM products WHERE id > 2 RETURNING name',
    'DELETE FROM products WHERE id > 9 AND made < now()',
    'DELETE FROM products WHERE random() < 0.5',
  ])
}

function homeWrite(values: Values): string {
  const { tape } = values
  const table = tape.pick(['settings', 'shop.settings', 'public.settings'])
  return tape.pick([
    `INSERT INTO ${table} VALUES (${values.literal('text')}, 'v') ON CONFLICT (name) DO UPDATE
      SET value = 'w'`,
    `UPDATE ${table} SET value = (SELECT name FROM products WHERE id = 1) RETURNING name, value`,
    `DELETE FROM ${table} WHERE name = 'colour'`,
    `INSERT INTO ${table} SELECT 'n', count(*) FROM users`,
    `INSERT INTO ${table} SELECT 'o' || id, name FROM products`,
  ])
}

function keyChange(values: Values): string {
  const { tape } = values
  const set = tape.pick([
    'tenant_id = 5',
    'tenant_id = tenant_id',
    '(age, tenant_id) = (1, 2)',
    '"tenant_id" = DEFAULT',
  ])
  return `UPDATE users SET ${set} WHERE tenant_id = ${key(values)}`
}

function everywhereWrite(values: Values): string {
  return values.tape.pick([
    'UPDATE users SET age = 1',
    'DELETE FROM orders',
    'TRUNCATE shop.orders',
    'TRUNCATE users, orders',
    'TRUNCATE tenants CASCADE',
    'TRUNCATE settings',
    'INSERT INTO orders (tenant_id, id) SELECT tenant_id, id + 10 FROM orders',
    'SELECT add_user(9)',
    'LOCK TABLE settings',
  ])
}

/** Common kinds stand more than once. */
const everyVersion: readonly Writer[] = [
  insertUser,
  insertUser,
  updateUsers,
  updateUsers,
  deleteRows,
  insertOrder,
  upsertUser,
  insertMany,
  insertSelect,
  updateFrom,
  insertDrawn,
  mergeUsers,
  writingCte,
  cascade,
  referenceInsert,
  referenceInsert,
  referenceUpdate,
  referenceDelete,
  referenceUpsert,
  homeWrite,
  keyChange,
  everywhereWrite,
  smallKey,
]
