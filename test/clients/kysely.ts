// Kysely on node-postgres: its migrator (a lock row and an advisory lock in one transaction), its schema and query
// builders, transactions with savepoints, streamed rows.
import { type Generated, Kysely, PostgresDialect, type Transaction, sql } from 'kysely'
import { type MigrationResultSet, Migrator } from 'kysely/migration'
import { jsonArrayFrom } from 'kysely/helpers/postgres'
import { Pool } from 'pg'
import Cursor from 'pg-cursor'
import {
  crowd,
  emailOf,
  manyUsers,
  products,
  sampleColumns,
  sampleValues,
  tenantId,
  tenantIds,
} from './fixtures.ts'
import { migrationProvider } from './kysely-migrations.ts'
import { failure, observed, unordered, withoutId } from './observed.ts'
import { urlOf, type Program } from './program.ts'

type Tenant = { tenant_id: bigint; name: string; plan: Generated<string> }
type Product = { id: number; name: string; price: string; sku: Generated<string> }
type User = { tenant_id: bigint; id: number; email: string; name: string | null }
type Order = {
  tenant_id: bigint
  id: Generated<bigint>
  user_id: number
  product_id: number
  quantity: number
  status: Generated<string>
}
type Sample = { tenant_id: bigint; id: number } & Record<(typeof sampleColumns)[number], unknown>
type Tables = {
  tenants: Tenant
  products: Product
  users: User
  orders: Order
  samples: Sample
  settings: { name: string; value: unknown }
}
type Session = Kysely<Tables>

const productColumns = ['id', 'name', 'price'] as const

/** The program of Kysely. */
export const kyselyProgram: Program<Session> = {
  open: async (target, max) => {
    const pool = new Pool({ connectionString: urlOf(target), max })
    return new Kysely<Tables>({ dialect: new PostgresDialect({ pool, cursor: Cursor }) })
  },
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
    'rows are streamed by a cursor inside a transaction': streamRows,
  },
}

const migratorOf = (db: Session) => new Migrator({ db, provider: migrationProvider })

async function applyMigrations(db: Session) {
  const news = outcome(await migratorOf(db).migrateToLatest())
  const books = await sql`SELECT name FROM kysely_migration ORDER BY name`.execute(db)
  return observed({ news, books: books.rows })
}

function outcome({ error, results }: MigrationResultSet) {
  if (error !== undefined) throw error
  return observed(results)
}

async function createRows(db: Session) {
  const made: unknown[] = [
    await db
      .insertInto('products')
      .values([...products])
      .returning(productColumns)
      .execute(),
  ]
  for (const tenant of tenantIds) {
    const row = { tenant_id: tenant, name: `tenant ${tenant}` }
    const tenants = db.insertInto('tenants').values(row)
    made.push(await tenants.returning(['tenant_id', 'name', 'plan']).executeTakeFirst())
    const users = [1, 2].map((id) => ({ tenant_id: tenant, id, email: emailOf(tenant, id) }))
    made.push(await db.insertInto('users').values(users).returningAll().execute())
    for (const [user_id, product_id] of [
      [1, 1],
      [1, 2],
      [2, 3],
    ] as const) {
      const order = { tenant_id: tenant, user_id, product_id, quantity: user_id + product_id }
      const added = db.insertInto('orders').values(order).returningAll()
      made.push(withoutId(await added.executeTakeFirstOrThrow()))
    }
  }
  return observed(made)
}

async function changeRows(db: Session) {
  const updated = await db
    .updateTable('orders')
    .set((is) => ({ quantity: is('quantity', '+', 5), status: 'packed' }))
    .where('tenant_id', '=', tenantId)
    .where('product_id', '=', 2)
    .returningAll()
    .execute()
  const upsert = (id: number, email: string, name: string) =>
    db
      .insertInto('users')
      .values({ tenant_id: tenantId, id, email, name })
      .onConflict((on) =>
        on.columns(['tenant_id', 'email']).doUpdateSet({ name: sql`excluded.name || '!'` }),
      )
      .returningAll()
      .execute()
  const known = await upsert(99, emailOf(tenantId, 1), 'Ann')
  const fresh = await upsert(3, emailOf(tenantId, 3), 'Bob')
  const remove = (id: number) =>
    db.deleteFrom('users').where('tenant_id', '=', tenantId).where('id', '=', id)
  const removed = await remove(3).returning(['id', 'email']).execute()
  const none = await remove(1_234).executeTakeFirst()
  return observed({ updated: updated.map(withoutId), known, fresh, removed, none })
}

async function replaceOrder(db: Session, quantity: number, giveUp: boolean) {
  const mine = { tenant_id: tenantId, product_id: 1 }
  const units = (on: Session) =>
    on
      .selectFrom('orders')
      .where('tenant_id', '=', tenantId)
      .select(({ fn }) => [fn.sum('quantity').as('units'), fn.countAll().as('orders')])
      .execute()
  let inside: unknown
  const work = async (trx: Transaction<Tables>) => {
    await trx
      .deleteFrom('orders')
      .where((is) => is.and(mine))
      .execute()
    await trx
      .insertInto('orders')
      .values({ ...mine, user_id: 2, quantity })
      .execute()
    inside = await units(trx)
    if (giveUp) throw new Error('given up')
    return 'done'
  }
  const done = db.transaction().setIsolationLevel('repeatable read').execute(work)
  const end = await done.catch((thrown: unknown) => String(thrown))
  return observed({ end, inside, outside: await units(db) })
}

async function failInTransaction(db: Session) {
  const duplicate = await failure(
    db.transaction().execute(async (trx) => {
      const tenant = trx.updateTable('tenants').set({ plan: 'lost' })
      await tenant.where('tenant_id', '=', tenantId).execute()
      const user = { tenant_id: tenantId, id: 1, email: 'other@x.test' }
      await trx.insertInto('users').values(user).execute()
    }),
  )
  const tenants = db.selectFrom('tenants').where('tenant_id', '=', tenantId)
  const after = await tenants.select('plan').execute()
  const missing = await failure(
    sql`SELECT no_such FROM users WHERE tenant_id = ${tenantId}`.execute(db),
  )
  const order = { tenant_id: tenantId, user_id: 1, product_id: 1, quantity: 1 }
  const add = (values: typeof order) => failure(db.insertInto('orders').values(values).execute())
  const foreignKey = await add({ ...order, user_id: 77 })
  return observed({
    duplicate,
    missing,
    foreignKey,
    check: await add({ ...order, quantity: 0 }),
    after,
  })
}

async function useSavepoint(db: Session) {
  const trx = await db.startTransaction().execute()
  const rename = (on: Session, id: number, name: string) => {
    const users = on.updateTable('users').set({ name }).where('tenant_id', '=', tenantId)
    return users.where('id', '=', id).execute()
  }
  await rename(trx, 1, 'kept')
  const inner = await trx.savepoint('trouble').execute()
  await rename(inner, 2, 'taken back')
  const trouble = await failure(sql`SELECT 1 / ${0}::int`.execute(inner))
  const outer = await inner.rollbackToSavepoint('trouble').execute()
  const released = await outer.releaseSavepoint('trouble').execute()
  const users = released.selectFrom('users').where('tenant_id', '=', tenantId)
  const rows = await users.select(['id', 'name']).orderBy('id').execute()
  await trx.commit().execute()
  return observed({ trouble, rows })
}

async function readRelations(db: Session) {
  const found = []
  for (const tenant of tenantIds.slice(0, 6)) {
    const rows = await db
      .selectFrom('users as u')
      .where('u.tenant_id', '=', tenant)
      .select('u.email')
      .select((is) =>
        jsonArrayFrom(
          is
            .selectFrom('orders as o')
            .innerJoin('products as p', 'p.id', 'o.product_id')
            .whereRef('o.tenant_id', '=', 'u.tenant_id')
            .whereRef('o.user_id', '=', 'u.id')
            .select(['p.name', 'p.price', 'o.quantity'])
            .orderBy('p.id'),
        ).as('orders'),
      )
      .orderBy('u.id')
      .execute()
    found.push(rows)
  }
  return observed(found)
}

async function roundTrip(db: Session) {
  const found = []
  for (const tenant of tenantIds.slice(-4)) {
    const bytes = Buffer.from(sampleValues.bytes)
    const row = { ...sampleValues, tenant_id: tenant, id: 1, bytes }
    found.push(await db.insertInto('samples').values(row).returningAll().execute())
    const nulls = { small: null, whole: null, big: null, ratio: null, amount: null, label: null }
    const more = { code: null, flag: null, at: null, day: null, token: null, doc: null }
    const empty = { ...nulls, ...more, words: null, numbers: null, bytes: null }
    const second = { tenant_id: tenant, id: 2, ...empty }
    found.push(await db.insertInto('samples').values(second).returningAll().execute())
    const search = db.selectFrom('samples').where('tenant_id', '=', tenant).select('id')
    found.push(await search.where('numbers', '@>', sql`${[-2]}`).execute())
  }
  return observed(found)
}

async function repeatStatement(db: Session) {
  const found = []
  for (let round = 0; round < 3; round += 1) {
    for (const tenant of tenantIds) {
      const users = db.selectFrom('users').where('tenant_id', '=', tenant)
      const asked = sql<string>`${tenant}::bigint`.as('asked')
      found.push(
        await users
          .where('id', '=', (round % 2) + 1)
          .select(['email', asked])
          .execute(),
      )
    }
  }
  return observed(found)
}

async function readAcross(db: Session) {
  const all = await db.selectFrom('users').select(['tenant_id', 'id', 'email']).execute()
  const tenants = db.selectFrom('tenants').select(['tenant_id', 'name'])
  const some = await tenants.where('name', 'like', '%1%').execute()
  const few = await tenants.where('tenant_id', 'in', [1n, 2n, 9_007_199_254_740_993n]).execute()
  return [all, some, few].map(unordered)
}

async function changeReference(db: Session) {
  const raise = db.updateTable('products').set({ price: '14.50' }).where('id', '=', 2)
  const raised = await raise.returning(['id', 'price']).execute()
  const prices = []
  const skus = new Set()
  for (const tenant of tenantIds) {
    const rows = await db
      .selectFrom('orders')
      .innerJoin('products', 'products.id', 'orders.product_id')
      .where('tenant_id', '=', tenant)
      .where('products.id', '=', 2)
      .select(['tenant_id', 'price', 'sku'])
      .execute()
    for (const { sku, ...row } of rows) {
      skus.add(sku)
      prices.push(row)
    }
  }
  return observed({ raised, prices, skus: skus.size })
}

async function useHomeTable(db: Session) {
  const set = (name: string, value: unknown) =>
    db
      .insertInto('settings')
      .values({ name, value: JSON.stringify(value) })
      .onConflict((on) =>
        on.column('name').doUpdateSet(({ ref }) => ({ value: ref('excluded.value') })),
      )
      .returningAll()
      .execute()
  const first = await set('theme', { dark: true })
  const second = await set('theme', { dark: false })
  await set('limit', 10)
  const all = db.selectFrom('settings').selectAll().orderBy('name', 'desc').limit(5)
  return observed([first, second, await all.execute()])
}

async function writeInBulk(db: Session) {
  const rows = manyUsers.map(({ tenantId: tenant_id, ...user }) => ({ tenant_id, ...user }))
  const made = await db.insertInto('users').values(rows).returning('email').execute()
  const many = db.deleteFrom('users').where('tenant_id', '=', 4n).where('id', '>=', 1_000)
  return observed({ made, gone: await many.executeTakeFirst() })
}

async function countInCrowd(db: Session) {
  const raise = () =>
    db.transaction().execute(async (trx) => {
      const mine = { tenant_id: 5n, product_id: 1 }
      const orders = trx
        .selectFrom('orders')
        .where((is) => is.and(mine))
        .select('quantity')
      const { quantity } = await orders.forUpdate().executeTakeFirstOrThrow()
      const next = { quantity: quantity + 1 }
      await trx
        .updateTable('orders')
        .set(next)
        .where((is) => is.and(mine))
        .execute()
      return next
    })
  return unordered(await Promise.all(Array.from({ length: crowd }, raise)))
}

async function undoAndRedo(db: Session) {
  const columns = async () => {
    const tables = await db.introspection.getTables()
    return tables.find(({ name }) => name === 'orders')?.columns.map(({ name }) => name)
  }
  const undone = outcome(await migratorOf(db).migrateDown())
  const without = await columns()
  return observed({
    undone,
    without,
    redone: outcome(await migratorOf(db).migrateUp()),
    again: await columns(),
  })
}

async function streamRows(db: Session) {
  return db.transaction().execute(async (trx) => {
    const orders = trx.selectFrom('orders').where('tenant_id', '=', 6n)
    const found = []
    for await (const row of orders.select('product_id').orderBy('product_id').stream(2)) {
      found.push(row)
    }
    return observed(found)
  })
}
