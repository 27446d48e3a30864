// postgres.js: every statement in a tagged template is prepared under a name and pipelined; batches
// and cursors use the protocol in ways node-postgres does not.
import postgres from 'postgres'
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

type Session = postgres.Sql<{ bigint: bigint }>

/** The program of `postgres` (postgres.js). */
export const postgresJs: Program<Session> = {
  open: async (target, max) => {
    const types = { bigint: postgres.BigInt }
    return postgres(urlOf(target), { max, types, onnotice: () => {} })
  },
  close: (sql) => sql.end({ timeout: 1 }),
  steps: {
    migrate: applyMigrations,
    migrateAgain: applyMigrations,
    create: createRows,
    change: changeRows,
    commit: (sql) => replaceOrder(sql, 9, false),
    rollback: (sql) => replaceOrder(sql, 100, true),
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
    'a cursor hands over the rows of one tenant in parts': readByCursor,
    'statements sent without waiting are answered in order': pipelined,
    'COPY FROM STDIN fills and COPY TO STDOUT reads one tenant': copyRows,
  },
}

async function applyMigrations(sql: Session) {
  await sql.unsafe(bookkeepingSql)
  const applied = await sql<{ name: string }[]>`SELECT name FROM migrations ORDER BY name`
  const done = new Set(applied.map((row) => row.name))
  const news: string[] = []
  for (const file of await sqlFiles()) {
    if (done.has(file.name)) continue
    // One Query message with all statements of the file, as sql.file() sends it.
    await sql.begin(async (tx) => {
      await tx.unsafe(file.statements.join(';\n'))
      await tx`INSERT INTO migrations VALUES (${file.name}, now())`
    })
    news.push(file.name)
  }
  return observed({ before: applied, news })
}

async function createRows(sql: Session) {
  const made = []
  for (const product of products) {
    made.push(observed(await sql`INSERT INTO products ${sql(product)} RETURNING id, name, price`))
  }
  for (const tenant of tenantIds) {
    const row = { tenant_id: tenant, name: `tenant ${tenant}` }
    made.push(observed(await sql`INSERT INTO tenants ${sql(row)} RETURNING tenant_id, name, plan`))
    const users = [1, 2].map((id) => ({ tenant_id: tenant, id, email: emailOf(tenant, id) }))
    made.push(observed(await sql`INSERT INTO users ${sql(users)} RETURNING *`))
    for (const [user, product] of [
      [1, 1],
      [1, 2],
      [2, 3],
    ] as const) {
      const orders = await sql`
        INSERT INTO orders (tenant_id, user_id, product_id, quantity, note)
        VALUES (${tenant}, ${user}, ${product}, ${user + product}, ${null}) RETURNING *`
      made.push(orders.map(withoutId))
    }
  }
  return made
}

async function changeRows(sql: Session) {
  const updated = await sql`
    UPDATE orders SET quantity = quantity + ${5}, status = 'packed'
    WHERE tenant_id = ${tenantId} AND product_id = ${2} RETURNING *`
  const upsert = (id: number, email: string, name: string) => sql`
    INSERT INTO users (tenant_id, id, email, name) VALUES (${tenantId}, ${id}, ${email}, ${name})
    ON CONFLICT (tenant_id, email) DO UPDATE SET name = excluded.name || '!' RETURNING *`
  const known = await upsert(99, emailOf(tenantId, 1), 'Ann')
  const fresh = await upsert(3, emailOf(tenantId, 3), 'Bob')
  const remove = (id: number) =>
    sql`DELETE FROM users WHERE tenant_id = ${tenantId} AND id = ${id} RETURNING id, email`
  const removed = await remove(3)
  const none = await remove(1234)
  const answers = [known, fresh, removed, none].map((rows) => {
    return { rows, count: rows.count, command: rows.command }
  })
  return observed({ updated: updated.map(withoutId), answers })
}

async function replaceOrder(sql: Session, quantity: number, giveUp: boolean) {
  const count = (on: postgres.ISql<{ bigint: bigint }>) =>
    on`SELECT count(*) AS orders, sum(quantity) AS units FROM orders WHERE tenant_id = ${tenantId}`
  let inside: unknown
  const done = sql.begin('isolation level serializable', async (tx) => {
    await tx`DELETE FROM orders WHERE tenant_id = ${tenantId} AND product_id = 1`
    await tx`INSERT INTO orders (tenant_id, user_id, product_id, quantity)
      VALUES (${tenantId}, 2, 1, ${quantity})`
    inside = [...(await count(tx)), ...(await tx`SHOW transaction_isolation`)]
    if (giveUp) throw new Error('given up')
    return 'done'
  })
  const end = await done.catch((thrown: unknown) => String(thrown))
  return observed({ end, inside, outside: await count(sql) })
}

async function failInTransaction(sql: Session) {
  const duplicate = await failure(
    sql.begin(async (tx) => {
      await tx`UPDATE tenants SET plan = 'lost' WHERE tenant_id = ${tenantId}`
      await tx`INSERT INTO users (tenant_id, id, email) VALUES (${tenantId}, 1, 'other@x.test')`
    }),
  )
  const after = await sql`SELECT plan FROM tenants WHERE tenant_id = ${tenantId}`
  const missing = await failure(sql`SELECT no_such_column FROM users WHERE tenant_id = ${tenantId}`)
  const order = (user: number, quantity: number) => sql`
    INSERT INTO orders (tenant_id, user_id, product_id, quantity)
    VALUES (${tenantId}, ${user}, 1, ${quantity})`
  const foreignKey = await failure(order(77, 1))
  const check = await failure(order(1, 0))
  return observed({ duplicate, missing, foreignKey, check, after })
}

async function useSavepoint(sql: Session) {
  return sql.begin(async (tx) => {
    const rename = (on: typeof tx, id: number, name: string) =>
      on`UPDATE users SET name = ${name} WHERE tenant_id = ${tenantId} AND id = ${id}`
    await rename(tx, 1, 'kept')
    const trouble = await failure(
      tx.savepoint('trouble', async (inner) => {
        await rename(inner, 2, 'taken back')
        await inner`SELECT 1 / ${0}::int`
      }),
    )
    await tx.savepoint('fine', (inner) => rename(inner, 2, 'also kept'))
    const rows = await tx`SELECT id, name FROM users WHERE tenant_id = ${tenantId} ORDER BY id`
    return observed({ trouble, rows })
  })
}

async function readRelations(sql: Session) {
  const found = []
  for (const tenant of tenantIds.slice(0, 6)) {
    const rows = await sql`
      SELECT u.email, (SELECT json_agg(json_build_object('product', p.name, 'units', o.quantity)
          ORDER BY p.id) FROM orders o JOIN products p ON p.id = o.product_id
        WHERE o.tenant_id = u.tenant_id AND o.user_id = u.id) AS orders
      FROM users u WHERE u.tenant_id = ${tenant} ORDER BY u.id`
    found.push(observed(rows))
  }
  return found
}

async function roundTrip(sql: Session) {
  const { doc, ...scalars } = sampleValues
  const found = []
  for (const tenant of tenantIds.slice(-4)) {
    const full = { tenant_id: tenant, id: 1, ...scalars, doc: sql.json(doc) }
    const row = { ...full, words: [...full.words], numbers: [...full.numbers] }
    const columns = ['tenant_id', 'id', ...sampleColumns] as const
    found.push(observed(await sql`INSERT INTO samples ${sql(row, ...columns)} RETURNING *`))
    const nulls = Object.fromEntries(sampleColumns.map((name) => [name, null]))
    const empty = { tenant_id: tenant, id: 2, ...nulls }
    found.push(observed(await sql`INSERT INTO samples ${sql(empty)} RETURNING *`))
    const rows = await sql`SELECT id FROM samples WHERE tenant_id = ${tenant}
      AND numbers = ${[...sampleValues.numbers]} AND doc @> ${sql.json({ text: 'a"b' })}`
    found.push(observed(rows))
  }
  return found
}

async function repeatPrepared(sql: Session) {
  const found = []
  for (let round = 0; round < 3; round += 1) {
    for (const tenant of tenantIds) {
      const rows = await sql`SELECT ${tenant}::bigint AS asked, email FROM users
        WHERE tenant_id = ${tenant} AND id = ${(round % 2) + 1}`
      found.push(observed(rows))
    }
  }
  return found
}

async function readAcross(sql: Session) {
  const all = await sql`SELECT tenant_id, id, email FROM users`
  const some = await sql`SELECT tenant_id, name FROM tenants WHERE name LIKE ${'%1%'}`
  const list = [1, 2, 9_007_199_254_740_993n]
  const few = await sql`SELECT tenant_id, name FROM tenants WHERE tenant_id IN ${sql(list)}`
  const any = await sql`SELECT email FROM users WHERE tenant_id = ANY (${[4, 5, 6]})`
  return [all, some, few, any].map(unordered)
}

async function changeReference(sql: Session) {
  const raised = await sql`UPDATE products SET price = price * 2 WHERE id = 2 RETURNING id, price`
  const prices = []
  const skus = new Set()
  for (const tenant of tenantIds) {
    const rows = await sql`SELECT o.tenant_id, p.price, p.sku FROM orders o
      JOIN products p ON p.id = o.product_id WHERE o.tenant_id = ${tenant} AND p.id = 2`
    for (const { sku, ...row } of rows) {
      skus.add(sku)
      prices.push(row)
    }
  }
  return observed({ raised, prices, skus: skus.size })
}

async function useHomeTable(sql: Session) {
  const set = (name: string, value: postgres.JSONValue) => sql`
    INSERT INTO settings VALUES (${name}, ${sql.json(value)})
    ON CONFLICT (name) DO UPDATE SET value = excluded.value RETURNING *`
  const first = await set('theme', { dark: true })
  const second = await set('theme', { dark: false })
  await set('limit', 10)
  const all = await sql`SELECT name, value FROM settings ORDER BY name DESC LIMIT 5`
  return observed([first, second, all])
}

async function readByCursor(sql: Session) {
  const parts: unknown[] = []
  const query = sql`SELECT product_id, quantity FROM orders WHERE tenant_id = ${5n} ORDER BY product_id`
  await query.cursor(2, (rows) => void parts.push(observed(rows)))
  return observed(parts)
}

async function pipelined(sql: Session) {
  const asked = Array.from({ length: 10 }, () => tenantIds).flat()
  const answers = await Promise.all(
    asked.map((tenant) => sql`SELECT email FROM users WHERE tenant_id = ${tenant} AND id = 2`),
  )
  return observed(answers)
}

async function copyRows(sql: Session) {
  const lines = Array.from({ length: 50 }, (_, index) => `5\t${index + 100}\tlabel ${index}\t\\N\n`)
  const into = await sql`COPY samples (tenant_id, id, label, big) FROM STDIN`.writable()
  const { pipeline } = await import('node:stream/promises')
  await pipeline(lines, into)
  const [count] = await sql`SELECT count(*), max(label) FROM samples WHERE tenant_id = 5`
  const from = await sql`COPY (SELECT id, label, big FROM samples
    WHERE tenant_id = 5 ORDER BY id LIMIT 3) TO STDOUT`.readable()
  let text = ''
  for await (const chunk of from) text += String(chunk)
  return observed({ count, text })
}

async function writeInBulk(sql: Session) {
  const rows = manyUsers.map(({ tenantId: tenant_id, ...user }) => ({ tenant_id, ...user }))
  const made = await sql`INSERT INTO users ${sql(rows)} RETURNING email`
  const gone = await sql`DELETE FROM users WHERE tenant_id = 4 AND id >= 1000`
  return observed({ made, gone: gone.count })
}

async function countInCrowd(sql: Session) {
  const raise = () =>
    sql.begin(async (tx) => {
      const mine = sql`WHERE tenant_id = 5 AND product_id = 1`
      const [row] = await tx`SELECT quantity FROM orders ${mine} FOR UPDATE`
      const next = Number(row?.['quantity']) + 1
      await tx`UPDATE orders SET quantity = ${next} ${mine}`
      return next
    })
  return unordered(await Promise.all(Array.from({ length: crowd }, raise)))
}
