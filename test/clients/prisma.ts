// Prisma 7 without Rust: the query compiler is WebAssembly, the driver is node-postgres behind
// @prisma/adapter-pg. Relations are read by one statement per level, writes give rows by RETURNING.
import { PrismaPg } from '@prisma/adapter-pg'
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
import { Prisma, PrismaClient } from './generated/prisma/client.ts'
import { failure, observed, unordered, withoutId } from './observed.ts'
import { migrationsOnDisk, openMigrator } from './prisma-migrate.ts'
import { urlOf, type Program } from './program.ts'

type Session = { readonly db: PrismaClient; readonly url: string }

/** The program of Prisma. */
export const prismaProgram: Program<Session> = {
  open: async (target, max) => {
    const connectionString = urlOf(target)
    const adapter = new PrismaPg(
      { connectionString, max },
      // As an application with a warm cache would have it: one named statement per SQL text.
      { statementNameGenerator: ({ sql }) => `prisma_${sql.length}_${hashOf(sql)}` },
    )
    return { db: new PrismaClient({ adapter }), url: connectionString }
  },
  close: ({ db }) => db.$disconnect(),
  steps: {
    migrate: applyMigrations,
    migrateAgain: applyMigrations,
    create: createRows,
    change: changeRows,
    commit: (session) => replaceOrder(session, 9, false),
    rollback: (session) => replaceOrder(session, 100, true),
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
    'a nested write makes a user with orders in one transaction': nestedWrite,
    'the migration engine finds the database in step with the history': diagnose,
  },
}

function hashOf(text: string): string {
  let hash = 0
  for (const char of text) hash = (Math.imul(hash, 31) + (char.codePointAt(0) ?? 0)) >>> 0
  return hash.toString(36)
}

async function applyMigrations({ db, url }: Session) {
  const migrator = await openMigrator(url)
  try {
    const news = await migrator.engine.applyMigrations(await migrationsOnDisk())
    const books = await db.$queryRaw`SELECT migration_name, applied_steps_count,
      finished_at IS NOT NULL AS finished, checksum FROM _prisma_migrations ORDER BY migration_name`
    return observed({ news, books })
  } finally {
    await migrator.close()
  }
}

async function createRows({ db }: Session) {
  const data = products.map((product) => ({ ...product }))
  const select = { id: true, name: true, price: true }
  const made: unknown[] = [await db.product.createManyAndReturn({ data, select })]
  for (const tenant of tenantIds) {
    const row = { tenantId: tenant, name: `tenant ${tenant}` }
    made.push(await db.tenant.create({ data: row, select: { tenantId: true, plan: true } }))
    const users = [1, 2].map((id) => ({ tenantId: tenant, id, email: emailOf(tenant, id) }))
    made.push(await db.user.createManyAndReturn({ data: users }))
    for (const [userId, productId] of [
      [1, 1],
      [1, 2],
      [2, 3],
    ] as const) {
      const order = { tenantId: tenant, userId, productId, quantity: userId + productId }
      made.push(withoutId(await db.order.create({ data: order })))
    }
  }
  return observed(made)
}

async function changeRows({ db }: Session) {
  const where = { tenantId, productId: 2 }
  const data = { quantity: { increment: 5 }, status: 'packed' }
  const updated = await db.order.updateManyAndReturn({ where, data })
  const key = (id: number) => ({ tenantId_id: { tenantId, id } })
  const upsert = (id: number, name: string) => {
    const create = { tenantId, id, email: emailOf(tenantId, id), name }
    return db.user.upsert({ where: key(id), create, update: { name: `${name}!` } })
  }
  const known = await upsert(1, 'Ann')
  const fresh = await upsert(3, 'Bob')
  const renamed = await db.user.update({ where: key(3), data: { name: 'Bobby' } })
  const removed = await db.user.delete({ where: key(3) })
  const none = await db.user.deleteMany({ where: { tenantId, id: 1234 } })
  return observed({ updated: updated.map(withoutId), known, fresh, renamed, removed, none })
}

async function replaceOrder({ db }: Session, quantity: number, giveUp: boolean) {
  const where = { tenantId }
  const units = (on: Prisma.TransactionClient) =>
    on.order.aggregate({ where, _count: true, _sum: { quantity: true } })
  let inside: unknown
  const done = db.$transaction(
    async (tx) => {
      await tx.order.deleteMany({ where: { tenantId, productId: 1 } })
      await tx.order.create({ data: { tenantId, userId: 2, productId: 1, quantity } })
      inside = await units(tx)
      if (giveUp) throw new Error('given up')
      return 'done'
    },
    { isolationLevel: Prisma.TransactionIsolationLevel.RepeatableRead },
  )
  const end = await done.catch((thrown: unknown) => String(thrown))
  return observed({ end, inside, outside: await units(db) })
}

async function failInTransaction({ db }: Session) {
  const where = { tenantId }
  const duplicate = await failure(
    db.$transaction([
      db.tenant.update({ where, data: { plan: 'lost' } }),
      db.user.create({ data: { tenantId, id: 1, email: 'other@x.test' } }),
    ]),
  )
  const after = await db.tenant.findUnique({ where, select: { plan: true } })
  const missing = await failure(
    db.$queryRaw`SELECT no_such_column FROM users WHERE tenant_id = ${tenantId}`,
  )
  const order = { tenantId, userId: 1, productId: 1, quantity: 1 }
  const foreignKey = await failure(db.order.create({ data: { ...order, userId: 77 } }))
  const check = await failure(db.order.create({ data: { ...order, quantity: 0 } }))
  return observed({ duplicate, missing, foreignKey, check, after })
}

async function useSavepoint({ db }: Session) {
  return db.$transaction(async (tx) => {
    const rename = (id: number, name: string) =>
      tx.user.update({ where: { tenantId_id: { tenantId, id } }, data: { name } })
    await rename(1, 'kept')
    await tx.$executeRaw`SAVEPOINT before_trouble`
    await rename(2, 'taken back')
    const trouble = await failure(tx.$queryRaw`SELECT 1 / ${0}::int`)
    await tx.$executeRaw`ROLLBACK TO SAVEPOINT before_trouble`
    const rows = await tx.user.findMany({ where: { tenantId }, orderBy: { id: 'asc' } })
    return observed({ trouble, rows })
  })
}

async function readRelations({ db }: Session) {
  const found = []
  for (const tenant of tenantIds.slice(0, 6)) {
    const rows = await db.user.findMany({
      where: { tenantId: tenant },
      orderBy: { id: 'asc' },
      select: {
        email: true,
        orders: {
          orderBy: { productId: 'asc' },
          select: { quantity: true, product: { select: { name: true, price: true } } },
        },
      },
    })
    found.push(rows)
  }
  return observed(found)
}

async function nestedWrite({ db }: Session) {
  const tenant = 5n
  const orders = { create: [1, 2].map((productId) => ({ productId, quantity: productId })) }
  const data = { tenantId: tenant, id: 50, email: 'nested@x.test', orders }
  const user = await db.user.create({ data })
  const count = await db.order.count({ where: { tenantId: tenant, userId: 50 } })
  return observed({ user, count })
}

async function roundTrip({ db }: Session) {
  const { words, numbers, doc, day, ...scalars } = sampleValues
  const arrays = { words: [...words], numbers: [...numbers] }
  const nested = { ...doc, nested: { ...doc.nested, list: [...doc.nested.list] } }
  const found = []
  for (const tenant of tenantIds.slice(-4)) {
    const values = {
      ...scalars,
      ...arrays,
      doc: nested,
      day: new Date(day),
      tenantId: tenant,
      id: 1,
    }
    found.push(await db.sample.create({ data: values }))
    const nullable = sampleColumns.filter((name) => !['words', 'numbers', 'doc'].includes(name))
    const nulls = Object.fromEntries(nullable.map((name) => [name, null]))
    found.push(await db.sample.create({ data: { ...nulls, tenantId: tenant, id: 2 } }))
    const search = {
      numbers: { has: -2 },
      doc: { path: ['text'], equals: 'a"b' },
      token: scalars.token,
    }
    found.push(await db.sample.findMany({ where: { tenantId: tenant, ...search } }))
    const raw = db.$queryRaw`SELECT tenant_id, amount, at, big, bytes, numbers FROM samples
      WHERE tenant_id = ${tenant} AND at = ${scalars.at} AND big = ${scalars.big}`
    found.push(await raw)
  }
  return observed(found)
}

async function repeatStatement({ db }: Session) {
  const found = []
  for (let round = 0; round < 3; round += 1) {
    for (const tenant of tenantIds) {
      const where = { tenantId_id: { tenantId: tenant, id: (round % 2) + 1 } }
      found.push(await db.user.findUnique({ where }))
      found.push(
        await db.$queryRaw`SELECT ${tenant}::bigint AS asked, email FROM users
        WHERE tenant_id = ${tenant} AND id = 2`,
      )
    }
  }
  return observed(found)
}

async function readAcross({ db }: Session) {
  const all = await db.user.findMany()
  const select = { tenantId: true, name: true }
  const some = await db.tenant.findMany({ where: { name: { contains: '1' } }, select })
  const list = [1n, 2n, 9_007_199_254_740_993n]
  const few = await db.tenant.findMany({ where: { tenantId: { in: list } }, select })
  return [all, some, few].map(unordered)
}

async function changeReference({ db }: Session) {
  const price = { multiply: 2 }
  const select = { id: true, price: true }
  const raised = await db.product.update({ where: { id: 2 }, data: { price }, select })
  const prices = []
  const skus = new Set()
  for (const tenant of tenantIds) {
    const where = { tenantId: tenant, productId: 2 }
    const product = { select: { price: true, sku: true } }
    for (const row of await db.order.findMany({ where, select: { tenantId: true, product } })) {
      skus.add(row.product.sku)
      prices.push({ tenant: row.tenantId, price: row.product.price })
    }
  }
  return observed({ raised, prices, skus: skus.size })
}

async function useHomeTable({ db }: Session) {
  const set = (name: string, value: Prisma.InputJsonValue) =>
    db.setting.upsert({ where: { name }, create: { name, value }, update: { value } })
  const first = await set('theme', { dark: true })
  const second = await set('theme', { dark: false })
  await set('limit', 10)
  const all = await db.setting.findMany({ orderBy: { name: 'desc' }, take: 5 })
  return observed([first, second, all, await db.setting.count()])
}

async function diagnose({ url }: Session) {
  const migrator = await openMigrator(url)
  try {
    const disk = await migrationsOnDisk()
    const found = await migrator.engine.diagnoseMigrationHistory({
      ...disk,
      optInToShadowDatabase: false,
    })
    return observed(found)
  } finally {
    await migrator.close()
  }
}

async function writeInBulk({ db }: Session) {
  const made = await db.user.createManyAndReturn({ data: manyUsers, select: { email: true } })
  const gone = await db.user.deleteMany({ where: { tenantId: 4n, id: { gte: 1_000 } } })
  return observed({ made, gone })
}

async function countInCrowd({ db }: Session) {
  const raise = () =>
    db.$transaction(async (tx) => {
      const rows = await tx.$queryRaw<{ quantity: number }[]>`SELECT quantity FROM orders
        WHERE tenant_id = 5 AND product_id = 1 FOR UPDATE`
      const quantity = Number(rows[0]?.quantity) + 1
      await tx.order.updateMany({ where: { tenantId: 5n, productId: 1 }, data: { quantity } })
      return quantity
    })
  return unordered(await Promise.all(Array.from({ length: crowd }, raise)))
}
