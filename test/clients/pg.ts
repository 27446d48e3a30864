// node-postgres: simple and extended protocol, named statements, its pool and one client for
// transactions. Statements as an application on a sharded database writes them: bound to a tenant.
import { Pool, type PoolClient } from 'pg'
import {
  emailOf,
  products,
  sampleColumns,
  sampleValues,
  tenantId,
  tenantIds,
  crowd,
  manyUsers,
} from './fixtures.ts'
import { failure, observed, unordered, withoutId } from './observed.ts'
import { urlOf, type Program } from './program.ts'
import { bookkeepingSql, sqlFiles } from './sql-files.ts'

type Session = Pool

/** The program of `pg`. */
export const nodePostgres: Program<Session> = {
  open: async (target, max) => new Pool({ connectionString: urlOf(target), max }),
  close: (pool) => pool.end(),
  steps: {
    migrate: applyMigrations,
    migrateAgain: applyMigrations,
    create: createRows,
    change: changeRows,
    commit: (pool) => replaceOrder(pool, 9, 'COMMIT'),
    rollback: (pool) => replaceOrder(pool, 100, 'ROLLBACK'),
    fail: failInTransaction,
    savepoint: useSavepoint,
    relate: readRelations,
    types: roundTrip,
    prepared: repeatPrepared,
    across: readAcross,
    reference: changeReference,
    home: useHomeTable,
    bulk: writeInBulk,
    crowd: countInCrowd,
  },
  more: {
    'several statements of one Query message are one transaction': severalAtOnce,
    'many clients at once get their own answers': manyAtOnce,
  },
}

async function applyMigrations(pool: Session) {
  await pool.query(bookkeepingSql)
  const applied = await pool.query('SELECT name FROM migrations ORDER BY name')
  const done = new Set(applied.rows.map((row) => row.name))
  const news = []
  for (const file of await sqlFiles()) {
    if (done.has(file.name)) continue
    await inTransaction(pool, async (client) => {
      for (const statement of file.statements) await client.query(statement)
      await client.query('INSERT INTO migrations VALUES ($1, now())', [file.name])
    })
    news.push(file.name)
  }
  return observed({ before: applied.rows, news })
}

async function inTransaction<T>(pool: Session, work: (client: PoolClient) => Promise<T>) {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    const result = await work(client)
    await client.query('COMMIT')
    return result
  } catch (thrown) {
    await client.query('ROLLBACK')
    throw thrown
  } finally {
    client.release()
  }
}

async function createRows(pool: Session) {
  const made = []
  for (const { id, name, price } of products) {
    const sql =
      'INSERT INTO products (id, name, price) VALUES ($1, $2, $3) RETURNING id, name, price'
    made.push((await pool.query(sql, [id, name, price])).rows)
  }
  for (const tenant of tenantIds) {
    const tenantSql = `INSERT INTO tenants (tenant_id, name) VALUES ($1, $2)
      RETURNING tenant_id, name, plan, created_at <= clock_timestamp() AS dated`
    made.push((await pool.query(tenantSql, [tenant, `tenant ${tenant}`])).rows)
    const userSql = `INSERT INTO users (tenant_id, id, email) VALUES ($1, 1, $2), ($1, 2, $3)
      RETURNING *`
    made.push((await pool.query(userSql, [tenant, emailOf(tenant, 1), emailOf(tenant, 2)])).rows)
    const orderSql = `INSERT INTO orders (tenant_id, user_id, product_id, quantity, note)
      VALUES ($1, $2, $3, $4, $5) RETURNING *`
    for (const [user, product] of [
      [1, 1],
      [1, 2],
      [2, 3],
    ] as const) {
      const order = await pool.query(orderSql, [tenant, user, product, user + product, null])
      made.push(order.rows.map(withoutId))
    }
  }
  return observed(made)
}

async function changeRows(pool: Session) {
  const update = `UPDATE orders SET quantity = quantity + $2, status = 'packed'
    WHERE tenant_id = $1 AND product_id = $3 RETURNING *`
  const updated = await pool.query(update, [tenantId, 5, 2])
  const upsert = `INSERT INTO users (tenant_id, id, email, name) VALUES ($1, $2, $3, $4)
    ON CONFLICT (tenant_id, email) DO UPDATE SET name = excluded.name || '!' RETURNING *`
  const known = await pool.query(upsert, [tenantId, 99, emailOf(tenantId, 1), 'Ann'])
  const fresh = await pool.query(upsert, [tenantId, 3, emailOf(tenantId, 3), 'Bob'])
  const remove = 'DELETE FROM users WHERE tenant_id = $1 AND id = $2 RETURNING id, email'
  const removed = await pool.query(remove, [tenantId, 3])
  const none = await pool.query(remove, [tenantId, 1234])
  const answers = [known, fresh, removed, none].map(({ rows, rowCount, command }) => {
    return { rows, rowCount, command }
  })
  return observed({ updated: updated.rows.map(withoutId), answers })
}

const orderCount =
  'SELECT count(*) AS orders, sum(quantity) AS units FROM orders WHERE tenant_id = $1'

async function replaceOrder(pool: Session, quantity: number, end: 'COMMIT' | 'ROLLBACK') {
  const client = await pool.connect()
  try {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
    const params = [tenantId, 1]
    await client.query('DELETE FROM orders WHERE tenant_id = $1 AND product_id = $2', params)
    const insert = `INSERT INTO orders (tenant_id, user_id, product_id, quantity)
      VALUES ($1, 2, $2, $3)`
    await client.query(insert, [...params, quantity])
    const level = await client.query('SHOW transaction_isolation')
    const inside = await client.query(orderCount, [tenantId])
    await client.query(end)
    const after = await client.query('SHOW transaction_isolation')
    const outside = await pool.query(orderCount, [tenantId])
    return observed([level, inside, after, outside].map(({ rows }) => rows))
  } finally {
    client.release()
  }
}

async function failInTransaction(pool: Session) {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    await client.query('UPDATE tenants SET plan = $2 WHERE tenant_id = $1', [tenantId, 'lost'])
    const twice = 'INSERT INTO users (tenant_id, id, email) VALUES ($1, 1, $2)'
    const duplicate = await failure(client.query(twice, [tenantId, 'other@x.test']))
    const aborted = await failure(client.query('SELECT 1'))
    const end = await client.query('COMMIT')
    const after = await client.query('SELECT plan FROM tenants WHERE tenant_id = $1', [tenantId])
    const unknown = 'SELECT no_such_column FROM users WHERE tenant_id = $1'
    const missing = await failure(client.query(unknown, [tenantId]))
    const orphan = `INSERT INTO orders (tenant_id, user_id, product_id, quantity)
      VALUES ($1, $2, 1, $3)`
    const foreignKey = await failure(client.query(orphan, [tenantId, 77, 1]))
    const check = await failure(client.query(orphan, [tenantId, 1, 0]))
    const failures = { duplicate, aborted, missing, foreignKey, check }
    return observed({ ...failures, end: end.command, after: after.rows })
  } finally {
    client.release()
  }
}

async function useSavepoint(pool: Session) {
  return inTransaction(pool, async (client) => {
    const rename = 'UPDATE users SET name = $3 WHERE tenant_id = $1 AND id = $2 RETURNING name'
    await client.query(rename, [tenantId, 1, 'kept'])
    await client.query('SAVEPOINT before_trouble')
    await client.query(rename, [tenantId, 2, 'taken back'])
    const trouble = await failure(client.query('SELECT 1 / $1::int', [0]))
    await client.query('ROLLBACK TO SAVEPOINT before_trouble')
    await client.query('RELEASE SAVEPOINT before_trouble')
    const names = 'SELECT id, name FROM users WHERE tenant_id = $1 ORDER BY id'
    return observed({ trouble, rows: (await client.query(names, [tenantId])).rows })
  })
}

async function readRelations(pool: Session) {
  const sql = `SELECT u.email, p.name, p.price, o.quantity, t.name AS tenant
    FROM tenants t JOIN users u ON u.tenant_id = t.tenant_id
    LEFT JOIN orders o ON o.tenant_id = u.tenant_id AND o.user_id = u.id
    LEFT JOIN products p ON p.id = o.product_id
    WHERE t.tenant_id = $1 ORDER BY u.id, p.id`
  const found = []
  for (const tenant of tenantIds.slice(0, 6)) found.push((await pool.query(sql, [tenant])).rows)
  return observed(found)
}

async function roundTrip(pool: Session) {
  const names = ['tenant_id', 'id', ...sampleColumns]
  const places = names.map((_, index) => `$${index + 1}`)
  const insert = `INSERT INTO samples (${names.join()}) VALUES (${places.join()}) RETURNING *`
  const found = []
  for (const tenant of tenantIds.slice(-4)) {
    const values = sampleColumns.map((name) => sampleValues[name])
    found.push((await pool.query(insert, [tenant, 1, ...values])).rows)
    found.push((await pool.query(insert, [tenant, 2, ...values.map(() => null)])).rows)
    const where = 'SELECT id FROM samples WHERE tenant_id = $1 AND numbers = $2 AND doc @> $3'
    const params = [tenant, sampleValues.numbers, { text: 'a"b' }]
    found.push((await pool.query(where, params)).rows)
  }
  return observed(found)
}

async function repeatPrepared(pool: Session) {
  const found = []
  for (let round = 0; round < 3; round += 1) {
    for (const tenant of tenantIds) {
      const text = 'SELECT $1::bigint AS asked, email FROM users WHERE tenant_id = $1 AND id = $2'
      const answer = await pool.query({
        name: 'user-by-id',
        text,
        values: [tenant, (round % 2) + 1],
      })
      found.push(answer.rows)
    }
  }
  return observed(found)
}

async function readAcross(pool: Session) {
  const all = await pool.query('SELECT tenant_id, id, email FROM users')
  const some = await pool.query('SELECT tenant_id, name FROM tenants WHERE name LIKE $1', ['%1%'])
  const list = 'SELECT tenant_id, name FROM tenants WHERE tenant_id IN ($1, $2, $3)'
  const few = await pool.query(list, [1, 2, 9_007_199_254_740_993n])
  const any = await pool.query('SELECT email FROM users WHERE tenant_id = ANY ($1)', [[4, 5, 6]])
  return [all, some, few, any].map(({ rows }) => unordered(rows))
}

async function changeReference(pool: Session) {
  const raise = 'UPDATE products SET price = price * 2 WHERE id = $1 RETURNING id, price'
  const raised = await pool.query(raise, [2])
  const prices = []
  const skus = new Set()
  const sql = `SELECT o.tenant_id, p.price, p.sku FROM orders o JOIN products p ON p.id = o.product_id
    WHERE o.tenant_id = $1 AND p.id = 2`
  for (const tenant of tenantIds) {
    for (const { sku, ...row } of (await pool.query(sql, [tenant])).rows) {
      skus.add(sku)
      prices.push(row)
    }
  }
  return observed({ raised: raised.rows, prices, skus: skus.size })
}

async function useHomeTable(pool: Session) {
  const set = `INSERT INTO settings VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET
    value = excluded.value RETURNING *`
  const first = await pool.query(set, ['theme', { dark: true }])
  const second = await pool.query(set, ['theme', { dark: false }])
  await pool.query(set, ['limit', 10])
  const all = await pool.query('SELECT name, value FROM settings ORDER BY name DESC LIMIT 5')
  const total = await pool.query('SELECT count(*), max(name) FROM settings')
  return observed([first, second, all, total].map(({ rows }) => rows))
}

async function severalAtOnce(pool: Session) {
  const client = await pool.connect()
  try {
    const rename = `UPDATE users SET name = 'batch' WHERE tenant_id = 4 AND id = 1`
    const failed = await failure(
      client.query(`${rename}; SELECT 1 / 0 FROM users WHERE tenant_id = 4`),
    )
    const names = 'SELECT id, name FROM users WHERE tenant_id = 4 ORDER BY id'
    return observed({ failed, rows: (await client.query(names)).rows })
  } finally {
    client.release()
  }
}

async function manyAtOnce(pool: Session) {
  const sql = 'SELECT tenant_id, email FROM users WHERE tenant_id = $1 AND id = 1'
  const asked = Array.from({ length: 20 }, () => tenantIds).flat()
  const answers = await Promise.all(asked.map((tenant) => pool.query(sql, [tenant])))
  return observed(answers.map(({ rows }) => rows))
}

async function writeInBulk(pool: Session) {
  const places = manyUsers.map((_, at) => `(4, $${2 * at + 1}, $${2 * at + 2})`)
  const sql = `INSERT INTO users (tenant_id, id, email) VALUES ${places.join()} RETURNING email`
  const values = manyUsers.flatMap(({ id, email }) => [id, email])
  const { rows } = await pool.query(sql, values)
  const gone = await pool.query('DELETE FROM users WHERE tenant_id = 4 AND id >= 1000')
  return observed({ rows, gone: gone.rowCount })
}

async function countInCrowd(pool: Session) {
  const mine = 'WHERE tenant_id = 5 AND product_id = 1'
  const raise = () =>
    inTransaction(pool, async (client) => {
      const { rows } = await client.query(`SELECT quantity FROM orders ${mine} FOR UPDATE`)
      const next = rows[0].quantity + 1
      await client.query(`UPDATE orders SET quantity = $1 ${mine}`, [next])
      return next
    })
  return unordered(await Promise.all(Array.from({ length: crowd }, raise)))
}
