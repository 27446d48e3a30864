// Drizzle on node-postgres: its migrator (schema "drizzle" on the home shard), query builder, relational
// queries (LATERAL joins with json_agg), prepared statements and nested transactions.
import { and, count, eq, gte, inArray, like, sql, sum } from 'drizzle-orm'
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres'
import { migrate } from 'drizzle-orm/node-postgres/migrator'
import { Pool } from 'pg'
import * as schema from './drizzle-schema.ts'
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

const { orders, samples, settings, tenants, users } = schema

type Database = NodePgDatabase<typeof schema>
type Session = { readonly pool: Pool; readonly db: Database }
/** The database or one of its transactions. */
type Queryable = Pick<Database, 'select' | 'insert' | 'update' | 'delete' | 'execute'>

/** The program of Drizzle. */
export const drizzleProgram: Program<Session> = {
  open: async (target, max) => {
    const pool = new Pool({ connectionString: urlOf(target), max })
    return { pool, db: drizzle(pool, { schema }) }
  },
  close: ({ pool }) => pool.end(),
  steps: {
    migrate: applyMigrations,
    migrateAgain: applyMigrations,
    create: createRows,
    change: changeRows,
    commit: ({ db }) => replaceOrder(db, 9, false),
    rollback: ({ db }) => replaceOrder(db, 100, true),
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
    'a relational query reads one order with its user, tenant and product': readOneDeep,
  },
}

async function applyMigrations({ db }: Session) {
  const migrationsFolder = new URL('./drizzle', import.meta.url).pathname
  await migrate(db, { migrationsFolder })
  const books = sql`SELECT hash, created_at FROM drizzle.__drizzle_migrations ORDER BY created_at`
  return observed((await db.execute(books)).rows)
}

async function createRows({ db }: Session) {
  const { id, name, price } = schema.products
  const made: unknown[] = [
    await db
      .insert(schema.products)
      .values([...products])
      .returning({ id, name, price }),
  ]
  for (const tenant of tenantIds) {
    const row = { tenantId: tenant, name: `tenant ${tenant}` }
    const { name: tenantName, plan } = tenants
    made.push(await db.insert(tenants).values(row).returning({ tenantName, plan }))
    const rows = [1, 2].map((user) => ({
      tenantId: tenant,
      id: user,
      email: emailOf(tenant, user),
    }))
    made.push(await db.insert(users).values(rows).returning())
    for (const [userId, productId] of [
      [1, 1],
      [1, 2],
      [2, 3],
    ] as const) {
      const order = { tenantId: tenant, userId, productId, quantity: userId + productId }
      made.push((await db.insert(orders).values(order).returning()).map(withoutId))
    }
  }
  return observed(made)
}

const ofUser = (id: number) => and(eq(users.tenantId, tenantId), eq(users.id, id))

async function changeRows({ db }: Session) {
  const updated = await db
    .update(orders)
    .set({ quantity: sql`${orders.quantity} + 5`, status: 'packed' })
    .where(and(eq(orders.tenantId, tenantId), eq(orders.productId, 2)))
    .returning()
  const upsert = (id: number, email: string, name: string) =>
    db
      .insert(users)
      .values({ tenantId, id, email, name })
      .onConflictDoUpdate({
        target: [users.tenantId, users.email],
        set: { name: sql`excluded.name || '!'` },
      })
      .returning()
  const known = await upsert(99, emailOf(tenantId, 1), 'Ann')
  const fresh = await upsert(3, emailOf(tenantId, 3), 'Bob')
  const ignored = await db
    .insert(users)
    .values({ tenantId, id: 3, email: 'x' })
    .onConflictDoNothing()
    .returning()
  const removed = await db.delete(users).where(ofUser(3)).returning({ id: users.id })
  const none = await db.delete(users).where(ofUser(1234))
  const seen = { known, fresh, ignored, removed, none: none.rowCount }
  return observed({ updated: updated.map(withoutId), ...seen })
}

async function replaceOrder(db: Database, quantity: number, giveUp: boolean) {
  const units = (on: Queryable) =>
    on
      .select({ orders: count(), units: sum(orders.quantity) })
      .from(orders)
      .where(eq(orders.tenantId, tenantId))
  let inside: unknown
  const done = db.transaction(
    async (tx) => {
      await tx.delete(orders).where(and(eq(orders.tenantId, tenantId), eq(orders.productId, 1)))
      await tx.insert(orders).values({ tenantId, userId: 2, productId: 1, quantity })
      inside = await units(tx)
      if (giveUp) tx.rollback()
      return 'done'
    },
    { isolationLevel: 'repeatable read', accessMode: 'read write' },
  )
  const end = await done.catch((thrown: unknown) => String(thrown))
  return observed({ end, inside, outside: await units(db) })
}

async function failInTransaction({ db }: Session) {
  const duplicate = await failure(
    db.transaction(async (tx) => {
      await tx.update(tenants).set({ plan: 'lost' }).where(eq(tenants.tenantId, tenantId))
      await tx.insert(users).values({ tenantId, id: 1, email: 'other@x.test' })
    }),
  )
  const plan = db.select({ plan: tenants.plan }).from(tenants)
  const after = await plan.where(eq(tenants.tenantId, tenantId))
  const unknown = sql`SELECT no_such_column FROM users WHERE tenant_id = ${tenantId}`
  const missing = await failure(db.execute(unknown))
  const order = { tenantId, userId: 1, productId: 1, quantity: 1 }
  const foreignKey = await failure(db.insert(orders).values({ ...order, userId: 77 }))
  const check = await failure(db.insert(orders).values({ ...order, quantity: 0 }))
  return observed({ duplicate, missing, foreignKey, check, after })
}

async function useSavepoint({ db }: Session) {
  return db.transaction(async (tx) => {
    await tx.update(users).set({ name: 'kept' }).where(ofUser(1))
    const trouble = await failure(
      tx.transaction(async (inner) => {
        await inner.update(users).set({ name: 'taken back' }).where(ofUser(2))
        await inner.execute(sql`SELECT 1 / ${0}::int`)
      }),
    )
    const names = tx.select({ id: users.id, name: users.name }).from(users)
    const rows = await names.where(eq(users.tenantId, tenantId)).orderBy(users.id)
    return observed({ trouble, rows })
  })
}

async function readRelations({ db }: Session) {
  const found = []
  for (const tenant of tenantIds.slice(0, 6)) {
    const rows = await db.query.users.findMany({
      where: eq(users.tenantId, tenant),
      orderBy: users.id,
      columns: { email: true },
      with: {
        orders: {
          columns: { quantity: true, status: true },
          with: { product: { columns: { name: true, price: true } } },
          orderBy: orders.productId,
        },
      },
    })
    found.push(rows)
  }
  return observed(found)
}

async function readOneDeep({ db }: Session) {
  const order = await db.query.orders.findFirst({
    where: and(eq(orders.tenantId, 5n), eq(orders.productId, 2)),
    columns: { quantity: true },
    with: {
      product: { columns: { name: true } },
      user: { with: { tenant: { columns: { name: true } } } },
    },
  })
  return observed(order)
}

async function roundTrip({ db }: Session) {
  const found = []
  const { words, numbers, doc } = sampleValues
  for (const tenant of tenantIds.slice(-4)) {
    const arrays = { words: [...words], numbers: [...numbers] }
    const row = { ...sampleValues, ...arrays, tenantId: tenant, id: 1 }
    found.push(await db.insert(samples).values(row).returning())
    const nulls = Object.fromEntries(sampleColumns.map((name) => [name, null]))
    found.push(
      await db
        .insert(samples)
        .values({ ...nulls, tenantId: tenant, id: 2 })
        .returning(),
    )
    const same = and(eq(samples.tenantId, tenant), eq(samples.numbers, arrays.numbers))
    const search = db.select({ id: samples.id, doc: samples.doc }).from(samples)
    found.push(await search.where(and(same, sql`${samples.doc} @> ${JSON.stringify(doc)}`)))
  }
  return observed(found)
}

async function repeatPrepared({ db }: Session) {
  const query = db
    .select({ asked: sql<string>`${sql.placeholder('tenant')}::bigint`, email: users.email })
    .from(users)
    .where(and(eq(users.tenantId, sql.placeholder('tenant')), eq(users.id, sql.placeholder('id'))))
    .prepare('user_by_id')
  const found = []
  for (let round = 0; round < 3; round += 1) {
    for (const tenant of tenantIds) {
      found.push(await query.execute({ tenant, id: (round % 2) + 1 }))
    }
  }
  return observed(found)
}

async function readAcross({ db }: Session) {
  const all = await db.select().from(users)
  const names = { tenantId: tenants.tenantId, name: tenants.name }
  const some = await db.select(names).from(tenants).where(like(tenants.name, '%1%'))
  const list = [1n, 2n, 9_007_199_254_740_993n]
  const few = await db.select(names).from(tenants).where(inArray(tenants.tenantId, list))
  return [all, some, few].map(unordered)
}

async function changeReference({ db }: Session) {
  const { id, price, sku } = schema.products
  const set = db.update(schema.products).set({ price: sql`${price} * 2` })
  const raised = await set.where(eq(id, 2)).returning({ id, price })
  const prices = []
  const skus = new Set()
  for (const tenant of tenantIds) {
    const rows = await db
      .select({ tenantId: orders.tenantId, price, sku })
      .from(orders)
      .innerJoin(schema.products, eq(id, orders.productId))
      .where(and(eq(orders.tenantId, tenant), eq(id, 2)))
    for (const { sku: seen, ...row } of rows) {
      skus.add(seen)
      prices.push(row)
    }
  }
  return observed({ raised, prices, skus: skus.size })
}

async function useHomeTable({ db }: Session) {
  const set = (name: string, value: unknown) =>
    db
      .insert(settings)
      .values({ name, value })
      .onConflictDoUpdate({ target: settings.name, set: { value: sql`excluded.value` } })
      .returning()
  const first = await set('theme', { dark: true })
  const second = await set('theme', { dark: false })
  await set('limit', 10)
  const all = await db.select().from(settings).orderBy(sql`name DESC`).limit(5)
  return observed([first, second, all, await db.$count(settings)])
}

async function writeInBulk({ db }: Session) {
  const made = await db.insert(users).values(manyUsers).returning({ email: users.email })
  const gone = await db.delete(users).where(and(eq(users.tenantId, 4n), gte(users.id, 1_000)))
  return observed({ made, gone: gone.rowCount })
}

async function countInCrowd({ db }: Session) {
  const mine = and(eq(orders.tenantId, 5n), eq(orders.productId, 1))
  const raise = () =>
    db.transaction(async (tx) => {
      const found = tx.select({ quantity: orders.quantity }).from(orders)
      const [row] = await found.where(mine).for('update')
      const quantity = Number(row?.quantity) + 1
      await tx.update(orders).set({ quantity }).where(mine)
      return quantity
    })
  return unordered(await Promise.all(Array.from({ length: crowd }, raise)))
}
