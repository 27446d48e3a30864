// TypeORM: its migrations (one transaction for all of them), repositories with composite keys and
// relations, query builder, nested transactions.
import { DataSource, In, Like, MoreThanOrEqual, type EntityManager } from 'typeorm'
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
import type { Program } from './program.ts'
import {
  OrderStatus1700000000002,
  Tables1700000000001,
  orderEntity,
  productEntity,
  sampleEntity,
  settingEntity,
  tenantEntity,
  userEntity,
} from './typeorm-schema.ts'

type Session = DataSource

const mine = tenantId.toString()

/** The program of TypeORM. */
export const typeormProgram: Program<Session> = {
  open: ({ user, ...target }, max) =>
    new DataSource({
      ...target,
      type: 'postgres',
      username: user,
      extra: { max },
      entities: [tenantEntity, productEntity, userEntity, orderEntity, sampleEntity, settingEntity],
      migrations: [Tables1700000000001, OrderStatus1700000000002],
    }).initialize(),
  close: (source) => source.destroy(),
  steps: {
    migrate: applyMigrations,
    migrateAgain: applyMigrations,
    create: createRows,
    change: changeRows,
    commit: (source) => replaceOrder(source, 9, false),
    rollback: (source) => replaceOrder(source, 100, true),
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
    'the query runner describes a table with its keys': inspect,
    'a page of users with their orders is read in two statements': readPage,
  },
}

async function applyMigrations(source: Session) {
  const news = (await source.runMigrations({ transaction: 'all' })).map(({ name }) => name)
  const books = await source.query('SELECT timestamp, name FROM migrations ORDER BY timestamp')
  return observed({ news, pending: await source.showMigrations(), books })
}

async function createRows(source: Session) {
  // Copies: TypeORM writes the columns that the database generated into the objects it is given.
  const rows = products.map((product) => ({ ...product }))
  const inserted = await source
    .createQueryBuilder()
    .insert()
    .into(productEntity)
    .values(rows)
    .execute()
  const generated: { readonly sku: unknown }[] = inserted.raw
  const made: unknown[] = [new Set(generated.map(({ sku }) => sku)).size]
  for (const tenant of tenantIds.map(String)) {
    const row = { tenantId: tenant, name: `tenant ${tenant}` }
    const { createdAt, ...saved } = await source.getRepository(tenantEntity).save(row)
    made.push(saved, createdAt instanceof Date)
    const users = [1, 2].map((id) => ({ tenantId: tenant, id, email: emailOf(BigInt(tenant), id) }))
    made.push(await source.getRepository(userEntity).save(users))
    for (const [userId, productId] of [
      [1, 1],
      [1, 2],
      [2, 3],
    ] as const) {
      const order = { tenantId: tenant, userId, productId, quantity: userId + productId }
      made.push(withoutId(await source.getRepository(orderEntity).save(order)))
    }
  }
  return observed(made)
}

async function changeRows(source: Session) {
  const updated = await source
    .createQueryBuilder()
    .update(orderEntity)
    .set({ quantity: () => 'quantity + 5', status: 'packed' })
    .where({ tenantId: mine, productId: 2 })
    .returning('*')
    .execute()
  const users = source.getRepository(userEntity)
  const upsert = async (id: number, email: string, name: string) => {
    await users.upsert({ tenantId: mine, id, email, name }, ['tenantId', 'email'])
    return users.findBy({ tenantId: mine, email })
  }
  const fresh = await upsert(3, emailOf(tenantId, 3), 'Bob')
  const known = await upsert(3, emailOf(tenantId, 3), 'Bob again')
  const bob = await users.findOneByOrFail({ tenantId: mine, id: 3 })
  const saved = observed(await users.save({ ...bob, name: 'Bob the third' }))
  await users.remove(bob)
  const none = await users.delete({ tenantId: mine, id: 1234 })
  const rows: object[] = updated.raw
  const seen = { fresh, known, saved, none: none.affected }
  return observed({ updated: rows.map(withoutId), affected: updated.affected, ...seen })
}

async function replaceOrder(source: Session, quantity: number, giveUp: boolean) {
  const units = async (manager: EntityManager) => {
    const orders = await manager.countBy(orderEntity, { tenantId: mine })
    return { orders, units: await manager.sum(orderEntity, 'quantity', { tenantId: mine }) }
  }
  let inside: unknown
  const done = source.transaction('REPEATABLE READ', async (manager) => {
    await manager.delete(orderEntity, { tenantId: mine, productId: 1 })
    await manager.insert(orderEntity, { tenantId: mine, userId: 2, productId: 1, quantity })
    inside = await units(manager)
    if (giveUp) throw new Error('given up')
    return 'done'
  })
  const end = await done.catch((thrown: unknown) => String(thrown))
  return observed({ end, inside, outside: await units(source.manager) })
}

async function failInTransaction(source: Session) {
  const duplicate = await failure(
    source.transaction(async (manager) => {
      await manager.update(tenantEntity, { tenantId: mine }, { plan: 'lost' })
      await manager.insert(userEntity, { tenantId: mine, id: 1, email: 'other@x.test' })
    }),
  )
  const select = { plan: true } as const
  const after = await source.manager.find(tenantEntity, { where: { tenantId: mine }, select })
  const order = { tenantId: mine, userId: 1, productId: 1, quantity: 1 }
  const unknown = 'SELECT no_such_column FROM users WHERE tenant_id = $1'
  const missing = await failure(source.query(unknown, [mine]))
  const foreignKey = await failure(source.manager.insert(orderEntity, { ...order, userId: 77 }))
  const check = await failure(source.manager.insert(orderEntity, { ...order, quantity: 0 }))
  return observed({ duplicate, missing, foreignKey, check, after })
}

async function useSavepoint(source: Session) {
  return source.transaction(async (manager) => {
    await manager.update(userEntity, { tenantId: mine, id: 1 }, { name: 'kept' })
    const trouble = await failure(
      manager.transaction(async (inner) => {
        await inner.update(userEntity, { tenantId: mine, id: 2 }, { name: 'taken back' })
        await inner.query('SELECT 1 / $1::int', [0])
      }),
    )
    const order = { id: 'ASC' } as const
    const rows = await manager.find(userEntity, { where: { tenantId: mine }, order })
    return observed({ trouble, rows })
  })
}

async function readRelations(source: Session) {
  const found = []
  for (const tenant of tenantIds.slice(0, 6)) {
    const rows = await source.getRepository(userEntity).find({
      where: { tenantId: tenant.toString() },
      relations: { orders: { product: true } },
      select: { email: true, orders: { quantity: true, product: { name: true, price: true } } },
      order: { id: 'ASC', orders: { productId: 'ASC' } },
    })
    found.push(rows)
  }
  return observed(found)
}

// TypeORM first asks for the page's keys (SELECT DISTINCT … over a subquery), then for their rows.
async function readPage(source: Session) {
  const query = source
    .getRepository(userEntity)
    .createQueryBuilder('u')
    .innerJoin('u.orders', 'o')
    .addSelect(['o.quantity', 'o.productId'])
    .where('u.tenantId = :tenant', { tenant: '5' })
    .orderBy('u.id')
    .addOrderBy('o.productId')
    .take(1)
  return observed(await query.getManyAndCount())
}

async function roundTrip(source: Session) {
  const samples = source.getRepository(sampleEntity)
  const found = []
  for (const tenant of tenantIds.slice(-4).map(String)) {
    const bytes = Buffer.from(sampleValues.bytes)
    const row = {
      ...sampleValues,
      big: sampleValues.big.toString(),
      bytes,
      tenantId: tenant,
      id: 1,
    }
    await samples.insert(row)
    const nulls = Object.fromEntries(sampleColumns.map((name) => [name, null]))
    await samples.insert({ ...nulls, tenantId: tenant, id: 2 })
    found.push(await samples.find({ where: { tenantId: tenant }, order: { id: 'ASC' } }))
    const search = samples.createQueryBuilder('s').where({ tenantId: tenant })
    const numbers = { numbers: sampleValues.numbers }
    found.push(await search.andWhere('s.numbers = :numbers', numbers).select('s.id').getMany())
  }
  return observed(found)
}

async function repeatStatement(source: Session) {
  const users = source.getRepository(userEntity)
  const found = []
  for (let round = 0; round < 3; round += 1) {
    for (const tenant of tenantIds.map(String)) {
      found.push(await users.findOneBy({ tenantId: tenant, id: (round % 2) + 1 }))
      found.push(await users.existsBy({ tenantId: tenant, id: 99 }))
    }
  }
  return observed(found)
}

async function readAcross(source: Session) {
  const all = await source.getRepository(userEntity).find()
  const tenants = source.getRepository(tenantEntity)
  const select = { tenantId: true, name: true } as const
  const some = await tenants.find({ where: { name: Like('%1%') }, select })
  const list = ['1', '2', '9007199254740993']
  const few = await tenants.find({ where: { tenantId: In(list) }, select })
  return [all, some, few].map(unordered)
}

async function changeReference(source: Session) {
  const raised = await source
    .createQueryBuilder()
    .update(productEntity)
    .set({ price: () => 'price * 2' })
    .where({ id: 2 })
    .returning(['id', 'price'])
    .execute()
  const prices = []
  const skus = new Set()
  for (const tenant of tenantIds.map(String)) {
    const where = { tenantId: tenant, product: { id: 2 } }
    const rows = await source
      .getRepository(orderEntity)
      .find({ where, relations: { product: true } })
    for (const { product } of rows) {
      skus.add(product?.sku)
      prices.push({ tenant, price: product?.price })
    }
  }
  return observed({ raised: raised.raw, prices, skus: skus.size })
}

async function useHomeTable(source: Session) {
  const settings = source.getRepository(settingEntity)
  const first = await settings.save({ name: 'theme', value: { dark: true } })
  const second = await settings.save({ name: 'theme', value: { dark: false } })
  await settings.upsert({ name: 'limit', value: 10 }, ['name'])
  const all = await settings.findAndCount({ order: { name: 'DESC' }, take: 5 })
  return observed([first, second, all])
}

async function undoAndRedo(source: Session) {
  const books = 'SELECT name FROM migrations ORDER BY timestamp'
  await source.undoLastMigration()
  const undone = await source.query(books)
  const redone = await source.runMigrations()
  return observed({ undone, redone: redone.map(({ name }) => name) })
}

async function inspect(source: Session) {
  const runner = source.createQueryRunner()
  try {
    const table = await runner.getTable('orders')
    const columns = table?.columns.map(({ name, type, isNullable }) => ({ name, type, isNullable }))
    const keys = table?.foreignKeys.map(({ columnNames }) => columnNames)
    const indexes = table?.indices.map(({ name, columnNames }) => ({ name, columnNames }))
    return observed({ columns, keys: unordered(keys ?? []), indexes: unordered(indexes ?? []) })
  } finally {
    await runner.release()
  }
}

async function writeInBulk(source: Session) {
  const rows = manyUsers.map((user) => ({ ...user, tenantId: `${user.tenantId}` }))
  const query = source.createQueryBuilder().insert().into(userEntity).values(rows)
  const made = await query.returning(['email']).execute()
  const users = source.createQueryBuilder().delete().from(userEntity)
  const gone = await users.where({ tenantId: '4', id: MoreThanOrEqual(1_000) }).execute()
  return observed({ made: made.raw, gone: gone.affected })
}

async function countInCrowd(source: Session) {
  const where = { tenantId: '5', productId: 1 }
  const raise = () =>
    source.transaction(async (manager) => {
      const lock = { mode: 'pessimistic_write' } as const
      const row = await manager.findOneOrFail(orderEntity, { where, lock })
      const quantity = row.quantity + 1
      await manager.update(orderEntity, where, { quantity })
      return quantity
    })
  return unordered(await Promise.all(Array.from({ length: crowd }, raise)))
}
