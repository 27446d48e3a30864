// Sequelize 6 with umzug: it interpolates most values as literals into simple-protocol statements, and
// sets up every connection with SET statements of its own.
import { Op, QueryTypes, Sequelize, Transaction, literal, type Model } from 'sequelize'
import { SequelizeStorage, Umzug } from 'umzug'
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
import { defineModels, migrations, type Models } from './sequelize-schema.ts'

type Session = Models & { readonly sequelize: Sequelize }

/** The program of Sequelize. */
export const sequelizeProgram: Program<Session> = {
  open: async ({ user, ...target }, max) => {
    const pool = { max, min: 0 }
    const options = {
      ...target,
      username: user,
      dialect: 'postgres',
      logging: false,
      pool,
    } as const
    const sequelize = new Sequelize(options)
    return { sequelize, ...defineModels(sequelize) }
  },
  close: ({ sequelize }) => sequelize.close(),
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
    prepared: repeatBound,
    across: readAcross,
    reference: changeReference,
    home: useHomeTable,
    bulk: writeInBulk,
    crowd: countInCrowd,
  },
  more: {
    'the last migration is rolled back and applied again': undoAndRedo,
    'the query interface describes tables, indexes and constraints': inspect,
  },
}

function migrator(sequelize: Sequelize) {
  const storage = new SequelizeStorage({ sequelize })
  return new Umzug({
    migrations,
    context: sequelize.getQueryInterface(),
    storage,
    logger: undefined,
  })
}

async function applyMigrations({ sequelize }: Session) {
  const umzug = migrator(sequelize)
  const news = (await umzug.up()).map(({ name }) => name)
  const books = await sequelize.query('SELECT name FROM "SequelizeMeta" ORDER BY name')
  return observed({ news, pending: await umzug.pending(), books: books[0] })
}

async function createRows({ Tenant, Product, User, Order }: Session) {
  const returning = ['id', 'name', 'price']
  const made: unknown[] = [await Product.bulkCreate([...products], { returning })]
  for (const tenant of tenantIds) {
    made.push(
      await Tenant.create(
        { tenantId: tenant, name: `tenant ${tenant}` },
        {
          returning: ['tenant_id', 'name', 'plan'],
        },
      ),
    )
    const users = [1, 2].map((id) => ({ tenantId: tenant, id, email: emailOf(tenant, id) }))
    made.push(await User.bulkCreate(users, { returning: true }))
    for (const [userId, productId] of [
      [1, 1],
      [1, 2],
      [2, 3],
    ] as const) {
      const order = { tenantId: tenant, userId, productId, quantity: userId + productId }
      made.push(withoutId((await Order.create(order)).toJSON()))
    }
  }
  return observed(made)
}

const rowsOf = (models: readonly Model[]): object[] => models.map((model) => model.toJSON())

async function changeRows({ User, Order }: Session) {
  const values = { quantity: literal('quantity + 5'), status: 'packed' }
  const where = { tenantId, productId: 2 }
  const [count, updated] = await Order.update(values, { where, returning: true })
  const conflictFields = ['tenant_id', 'email']
  const upsert = async (id: number, email: string, name: string) => {
    const row = { tenantId, id, email, name }
    const [model] = await User.upsert(row, { conflictFields, fields: ['name'], returning: true })
    return model
  }
  const known = await upsert(99, emailOf(tenantId, 1), 'Ann')
  const fresh = await upsert(3, emailOf(tenantId, 3), 'Bob')
  const user = await User.findOne({ where: { tenantId, email: emailOf(tenantId, 3) } })
  await user?.update({ name: 'Bob the second' })
  const reloaded = await user?.reload()
  const seen = observed([known, fresh, reloaded])
  await user?.destroy()
  const none = await User.destroy({ where: { tenantId, id: 1234 } })
  return observed({ count, updated: rowsOf(updated).map(withoutId), seen, none })
}

async function replaceOrder({ sequelize, Order }: Session, quantity: number, giveUp: boolean) {
  const where = { tenantId }
  const units = async (transaction: Transaction | null) => {
    const orders = await Order.count({ where, transaction })
    return { orders, units: await Order.sum('quantity', { where, transaction }) }
  }
  let inside: unknown
  const isolationLevel = Transaction.ISOLATION_LEVELS.REPEATABLE_READ
  const done = sequelize.transaction({ isolationLevel }, async (transaction) => {
    await Order.destroy({ where: { tenantId, productId: 1 }, transaction })
    await Order.create({ tenantId, userId: 2, productId: 1, quantity }, { transaction })
    inside = await units(transaction)
    if (giveUp) throw new Error('given up')
    return 'done'
  })
  const end = await done.catch((thrown: unknown) => String(thrown))
  return observed({ end, inside, outside: await units(null) })
}

async function failInTransaction({ sequelize, Tenant, User, Order }: Session) {
  const duplicate = await failure(
    sequelize.transaction(async (transaction) => {
      await Tenant.update({ plan: 'lost' }, { where: { tenantId }, transaction })
      await User.create({ tenantId, id: 1, email: 'other@x.test' }, { transaction })
    }),
  )
  const after = await Tenant.findAll({ where: { tenantId }, attributes: ['plan'] })
  const order = { tenantId, userId: 1, productId: 1, quantity: 1 }
  const missing = await failure(User.findAll({ where: { tenantId }, attributes: ['noSuch'] }))
  const foreignKey = await failure(Order.create({ ...order, userId: 77 }))
  const check = await failure(Order.create({ ...order, quantity: 0 }))
  return observed({ duplicate, missing, foreignKey, check, after })
}

async function useSavepoint({ sequelize, User }: Session) {
  return sequelize.transaction(async (transaction) => {
    await User.update({ name: 'kept' }, { where: { tenantId, id: 1 }, transaction })
    const trouble = await failure(
      sequelize.transaction({ transaction }, async (inner) => {
        const where = { tenantId, id: 2 }
        await User.update({ name: 'taken back' }, { where, transaction: inner })
        await sequelize.query('SELECT 1 / 0', { transaction: inner })
      }),
    )
    const order: [string] = ['id']
    const rows = await User.findAll({ where: { tenantId }, order, transaction })
    return observed({ trouble, rows })
  })
}

async function readRelations({ User }: Session) {
  const found = []
  for (const tenant of tenantIds.slice(0, 6)) {
    const where = { tenantId: tenant }
    const orders = { association: 'orders', where, required: false, attributes: ['quantity'] }
    const product = { association: 'product', attributes: ['name', 'price'] }
    const include = [{ ...orders, include: [product] }]
    found.push(
      await User.findAll({ where, include, order: ['id', ['orders', 'productId', 'ASC']] }),
    )
  }
  return observed(found)
}

async function roundTrip({ Sample }: Session) {
  const found = []
  for (const tenant of tenantIds.slice(-4)) {
    const bytes = Buffer.from(sampleValues.bytes)
    const row = { ...sampleValues, tenant_id: tenant, id: 1, bytes }
    found.push(await Sample.create(row), await Sample.findAll({ where: { tenant_id: tenant } }))
    const nulls = Object.fromEntries(sampleColumns.map((name) => [name, null]))
    found.push(await Sample.create({ tenant_id: tenant, id: 2, ...nulls }))
    const where = {
      tenant_id: tenant,
      numbers: { [Op.contains]: [3, 1] },
      doc: { [Op.contains]: { text: 'a"b' } },
    }
    found.push(await Sample.findAll({ where, attributes: ['id'] }))
  }
  return observed(found)
}

async function repeatBound({ sequelize, User }: Session) {
  const sql = 'SELECT $1::bigint AS asked, email FROM users WHERE tenant_id = $1 AND id = $2'
  const found = []
  for (let round = 0; round < 3; round += 1) {
    for (const tenant of tenantIds) {
      const id = (round % 2) + 1
      const options = { bind: [`${tenant}`, id], type: QueryTypes.SELECT as const }
      found.push(await sequelize.query(sql, options))
      found.push(await User.findOne({ where: { tenantId: tenant, id }, attributes: ['email'] }))
    }
  }
  return observed(found)
}

async function readAcross({ User, Tenant }: Session) {
  const all = await User.findAll()
  const attributes = ['tenantId', 'name']
  const some = await Tenant.findAll({ where: { name: { [Op.like]: '%1%' } }, attributes })
  const list = [1n, 2n, 9_007_199_254_740_993n]
  const few = await Tenant.findAll({ where: { tenantId: list }, attributes })
  return [all, some, few].map(unordered)
}

async function changeReference({ Product, Order }: Session) {
  const price = literal('price * 2')
  const raised = await Product.update({ price }, { where: { id: 2 }, returning: ['id', 'price'] })
  const prices = []
  const skus = new Set()
  for (const tenant of tenantIds) {
    const product = { association: 'product', attributes: ['sku', 'price'] }
    const where = { tenantId: tenant, productId: 2 }
    const rows = await Order.findAll({ where, include: [product], raw: true, nest: true })
    for (const row of rows) {
      const { product: seen }: { product?: { sku?: string } } = Object.fromEntries(
        Object.entries(row),
      )
      const { sku, ...rest } = seen ?? {}
      skus.add(sku)
      prices.push({ tenant, ...rest })
    }
  }
  return observed({ raised, prices, skus: skus.size })
}

async function useHomeTable({ Setting }: Session) {
  const set = (name: string, value: unknown) => Setting.upsert({ name, value })
  const [first] = await set('theme', { dark: true })
  const [second] = await set('theme', { dark: false })
  await set('limit', 10)
  const all = await Setting.findAndCountAll({ order: [['name', 'DESC']], limit: 5 })
  return observed([first, second, all])
}

async function undoAndRedo({ sequelize }: Session) {
  const umzug = migrator(sequelize)
  const undone = (await umzug.down()).map(({ name }) => name)
  const without = Object.keys(await sequelize.getQueryInterface().describeTable('orders'))
  const redone = (await umzug.up()).map(({ name }) => name)
  return observed({ undone, without, redone })
}

async function inspect({ sequelize }: Session) {
  const queries = sequelize.getQueryInterface()
  const tables = (await queries.showAllTables()).sort()
  const columns = await queries.describeTable('orders')
  const indexes = await queries.showIndex('orders')
  const names = Array.isArray(indexes) ? indexes.map(({ name }) => name) : []
  return observed({ tables, columns, names })
}

async function writeInBulk({ User }: Session) {
  const made = await User.bulkCreate(manyUsers, { returning: ['email'] })
  const gone = await User.destroy({ where: { tenantId: 4, id: { [Op.gte]: 1_000 } } })
  return observed({ made, gone })
}

async function countInCrowd({ sequelize, Order }: Session) {
  const raise = () =>
    sequelize.transaction(async (transaction) => {
      const where = { tenantId: 5, productId: 1 }
      const row = await Order.findOne({ where, transaction, lock: true })
      const quantity = Number(row?.get('quantity')) + 1
      await Order.update({ quantity }, { where, transaction })
      return quantity
    })
  return unordered(await Promise.all(Array.from({ length: crowd }, raise)))
}
