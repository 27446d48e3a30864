// Knex: its migrator with lock and bookkeeping tables, its schema and query builders, transactions
// and nested transactions (savepoints).
import knex, { type Knex } from 'knex'
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
import { migrationSource } from './knex-migrations.ts'
import { failure, observed, unordered, withoutId } from './observed.ts'
import type { Program } from './program.ts'

type Session = Knex

/** The program of Knex. */
export const knexProgram: Program<Session> = {
  open: async ({ ...connection }, max) =>
    knex({ client: 'pg', connection, pool: { min: 0, max }, migrations: { migrationSource } }),
  close: (db) => db.destroy(),
  steps: {
    migrate: applyMigrations,
    migrateAgain: applyMigrations,
    create: createRows,
    change: changeRows,
    commit: (db) => replaceOrder(db, 9, false),
    rollback: (db) => replaceOrder(db, 100, true),
    fail: failInTransaction,
    savepoint: useSavepoint,
    relate: readRelations,
    types: roundTrip,
    prepared: repeatStatement,
    across: readAcross,
    reference: changeReference,
    home: useHomeTable,
    bulk: writeInBulk,
    crowd: countInCrowd,
  },
  more: {
    'the last migration is rolled back and applied again': undoAndRedo,
    'the schema builder sees tables and columns': inspect,
  },
}

async function applyMigrations(db: Session) {
  const [batch, names]: [number, string[]] = await db.migrate.latest()
  const books = await db('knex_migrations').select('name', 'batch').orderBy('id')
  const lock = await db('knex_migrations_lock').select('is_locked')
  return observed({ batch, names, books, lock, version: await db.migrate.currentVersion() })
}

async function createRows(db: Session) {
  const made: unknown[] = [
    await db('products').insert(products[0]).returning(['id', 'name', 'price']),
    await db('products').insert(products.slice(1)).returning(['id', 'name', 'price']),
  ]
  for (const tenant of tenantIds) {
    const tenantRow = { tenant_id: tenant, name: `tenant ${tenant}` }
    made.push(await db('tenants').insert(tenantRow).returning(['tenant_id', 'name', 'plan']))
    const users = [1, 2].map((id) => ({ tenant_id: tenant, id, email: emailOf(tenant, id) }))
    made.push(await db('users').insert(users).returning('*'))
    for (const [user, product] of [
      [1, 1],
      [1, 2],
      [2, 3],
    ] as const) {
      const order = {
        tenant_id: tenant,
        user_id: user,
        product_id: product,
        quantity: user + product,
      }
      const rows: object[] = await db('orders').insert(order).returning('*')
      made.push(rows.map(withoutId))
    }
  }
  return observed(made)
}

async function changeRows(db: Session) {
  const updated: object[] = await db('orders')
    .where({ tenant_id: tenantId, product_id: 2 })
    .increment('quantity', 5)
    .update({ status: 'packed' })
    .returning('*')
  const upsert = (id: number, email: string, name: string) =>
    db('users')
      .insert({ tenant_id: tenantId, id, email, name })
      .onConflict(['tenant_id', 'email'])
      .merge({ name: db.raw(`excluded.name || '!'`) })
      .returning('*')
  const known = await upsert(99, emailOf(tenantId, 1), 'Ann')
  const fresh = await upsert(3, emailOf(tenantId, 3), 'Bob')
  const ignored = await db('users')
    .insert({ tenant_id: tenantId, id: 3, email: 'x' })
    .onConflict(['tenant_id', 'id'])
    .ignore()
    .returning('id')
  const removed = await db('users').where({ tenant_id: tenantId, id: 3 }).delete(['id', 'email'])
  const count = await db('users').where({ tenant_id: tenantId, id: 1234 }).delete()
  return observed({ updated: updated.map(withoutId), known, fresh, ignored, removed, count })
}

async function replaceOrder(db: Session, quantity: number, giveUp: boolean) {
  const mine = { tenant_id: tenantId, product_id: 1 }
  const units = (on: Knex) => on('orders').where({ tenant_id: tenantId }).sum('quantity').count()
  let inside: unknown
  const work = async (trx: Knex.Transaction) => {
    await trx('orders').where(mine).delete()
    await trx('orders').insert({ ...mine, user_id: 2, quantity })
    inside = await units(trx)
    if (giveUp) throw new Error('given up')
    return 'done'
  }
  const config = { isolationLevel: 'repeatable read' } as const
  const end = await db.transaction(work, config).catch((thrown: unknown) => String(thrown))
  return observed({ end, inside, outside: await units(db) })
}

async function failInTransaction(db: Session) {
  const duplicate = await failure(
    db.transaction(async (trx) => {
      await trx('tenants').where({ tenant_id: tenantId }).update({ plan: 'lost' })
      await trx('users').insert({ tenant_id: tenantId, id: 1, email: 'other@x.test' })
    }),
  )
  const after = await db('tenants').where({ tenant_id: tenantId }).select('plan')
  const order = { tenant_id: tenantId, user_id: 1, product_id: 1, quantity: 1 }
  const missing = await failure(db('users').select('no_such').where({ tenant_id: tenantId }))
  const foreignKey = await failure(db('orders').insert({ ...order, user_id: 77 }))
  const check = await failure(db('orders').insert({ ...order, quantity: 0 }))
  return observed({ duplicate, missing, foreignKey, check, after })
}

async function useSavepoint(db: Session) {
  return db.transaction(async (trx) => {
    const user = (on: Knex, id: number) => on('users').where({ tenant_id: tenantId, id })
    await user(trx, 1).update({ name: 'kept' })
    const trouble = await failure(
      trx.transaction(async (inner) => {
        await user(inner, 2).update({ name: 'taken back' })
        await inner.raw('SELECT 1 / ?::int', [0])
      }),
    )
    const rows = await trx('users')
      .where({ tenant_id: tenantId })
      .select('id', 'name')
      .orderBy('id')
    return observed({ trouble, rows })
  })
}

async function readRelations(db: Session) {
  const found = []
  for (const tenant of tenantIds.slice(0, 6)) {
    const rows = await db('users as u')
      .leftJoin('orders as o', (on) => {
        on.on('o.tenant_id', 'u.tenant_id').andOn('o.user_id', 'u.id')
      })
      .leftJoin('products as p', 'p.id', 'o.product_id')
      .where('u.tenant_id', `${tenant}`)
      .groupBy('u.tenant_id', 'u.id')
      .select('u.email', db.raw('array_agg(p.name ORDER BY p.id) AS bought'))
      .sum('o.quantity as units')
      .orderBy('u.id')
    found.push(rows)
  }
  return observed(found)
}

async function roundTrip(db: Session) {
  const found = []
  for (const tenant of tenantIds.slice(-4)) {
    const row = {
      ...sampleValues,
      tenant_id: tenant,
      id: 1,
      bytes: Buffer.from(sampleValues.bytes),
    }
    found.push(await db('samples').insert(row).returning('*'))
    const nulls = Object.fromEntries(sampleColumns.map((name) => [name, null]))
    found.push(
      await db('samples')
        .insert({ tenant_id: tenant, id: 2, ...nulls })
        .returning('*'),
    )
    const search = db('samples').where({ tenant_id: tenant, numbers: [...sampleValues.numbers] })
    found.push(await search.whereJsonPath('doc', '$.text', '=', 'a"b').select('id'))
  }
  return observed(found)
}

async function repeatStatement(db: Session) {
  const found = []
  for (let round = 0; round < 3; round += 1) {
    for (const tenant of tenantIds) {
      const user = db('users').where({ tenant_id: tenant, id: (round % 2) + 1 })
      found.push(await user.first('email', db.raw('?::bigint AS asked', [`${tenant}`])))
    }
  }
  return observed(found)
}

async function readAcross(db: Session) {
  const all = await db('users').select('tenant_id', 'id', 'email')
  const some = await db('tenants').whereLike('name', '%1%').select('tenant_id', 'name')
  const list = ['1', '2', '9007199254740993']
  const few = await db('tenants').whereIn('tenant_id', list).select('tenant_id', 'name')
  return [all, some, few].map(unordered)
}

async function changeReference(db: Session) {
  const raised = await db('products').where({ id: 2 }).update({ price: '14.50' }, ['id', 'price'])
  const prices = []
  const skus = new Set()
  for (const tenant of tenantIds) {
    const rows = await db('orders')
      .join('products', 'products.id', 'orders.product_id')
      .where({ tenant_id: tenant, 'products.id': 2 })
      .select('tenant_id', 'price', 'sku')
    for (const { sku, ...row } of rows) {
      skus.add(sku)
      prices.push(row)
    }
  }
  return observed({ raised, prices, skus: skus.size })
}

async function useHomeTable(db: Session) {
  const set = (name: string, value: unknown) =>
    db('settings')
      .insert({ name, value: JSON.stringify(value) })
      .onConflict('name')
      .merge()
      .returning('*')
  const first = await set('theme', { dark: true })
  const second = await set('theme', { dark: false })
  await set('limit', 10)
  const all = await db('settings').orderBy('name', 'desc').limit(5)
  return observed([first, second, all, await db('settings').count().max('name')])
}

async function undoAndRedo(db: Session) {
  const undone = await db.migrate.down()
  const without = await db.schema.hasColumn('orders', 'status')
  const redone = await db.migrate.up()
  return observed({ undone, without, redone, again: await db.schema.hasColumn('orders', 'status') })
}

async function inspect(db: Session) {
  const tables = await Promise.all(['orders', 'nowhere'].map((name) => db.schema.hasTable(name)))
  return observed({ tables, columns: await db('orders').columnInfo() })
}

async function writeInBulk(db: Session) {
  const rows = manyUsers.map(({ tenantId: tenant_id, ...user }) => ({ tenant_id, ...user }))
  const made = await db.batchInsert('users', rows, 100).returning('email')
  const gone = await db('users').where({ tenant_id: 4 }).andWhere('id', '>=', 1_000).delete()
  return observed({ made, gone })
}

async function countInCrowd(db: Session) {
  const mine = { tenant_id: 5, product_id: 1 }
  const raise = () =>
    db.transaction(async (trx) => {
      const row = await trx('orders').where(mine).forUpdate().first('quantity')
      await trx('orders')
        .where(mine)
        .update({ quantity: row.quantity + 1 })
      return row.quantity + 1
    })
  return unordered(await Promise.all(Array.from({ length: crowd }, raise)))
}
