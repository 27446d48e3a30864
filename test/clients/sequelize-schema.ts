// Sequelize's side of the tables: migrations as umzug runs them (queryInterface), and the models.
import { DataTypes, type QueryInterface, type Sequelize } from 'sequelize'

const tenantId = { type: DataTypes.BIGINT, allowNull: false }
const orderColumns = { type: DataTypes.INTEGER, allowNull: false }
const productName = { type: DataTypes.TEXT, allowNull: false, unique: true }

const sampleColumns = () => ({
  tenant_id: { ...tenantId, primaryKey: true },
  id: { type: DataTypes.INTEGER, allowNull: false, primaryKey: true },
  small: { type: DataTypes.SMALLINT },
  whole: { type: DataTypes.INTEGER },
  big: { type: DataTypes.BIGINT },
  ratio: { type: DataTypes.DOUBLE },
  amount: { type: DataTypes.DECIMAL(20, 6) },
  label: { type: DataTypes.TEXT },
  code: { type: DataTypes.STRING(20) },
  flag: { type: DataTypes.BOOLEAN },
  at: { type: DataTypes.DATE },
  day: { type: DataTypes.DATEONLY },
  token: { type: DataTypes.UUID },
  doc: { type: DataTypes.JSONB },
  words: { type: DataTypes.ARRAY(DataTypes.TEXT) },
  numbers: { type: DataTypes.ARRAY(DataTypes.INTEGER) },
  bytes: { type: DataTypes.BLOB },
})

const settingColumns = () => ({
  name: { type: DataTypes.TEXT, primaryKey: true },
  value: { type: DataTypes.JSONB, allowNull: false },
})

async function createTables({ context }: { context: QueryInterface }): Promise<void> {
  const { literal } = context.sequelize.Sequelize
  await context.createTable('tenants', {
    tenant_id: { ...tenantId, primaryKey: true },
    name: { type: DataTypes.TEXT, allowNull: false },
    plan: { type: DataTypes.TEXT, allowNull: false, defaultValue: 'free' },
    created_at: { type: DataTypes.DATE, allowNull: false, defaultValue: literal('now()') },
  })
  await context.createTable('products', {
    id: { type: DataTypes.INTEGER, primaryKey: true },
    name: productName,
    price: { type: DataTypes.DECIMAL(12, 2), allowNull: false },
    sku: { type: DataTypes.UUID, allowNull: false, defaultValue: literal('gen_random_uuid()') },
  })
  await context.createTable('users', {
    tenant_id: {
      ...tenantId,
      primaryKey: true,
      references: { model: 'tenants', key: 'tenant_id' },
    },
    id: { type: DataTypes.INTEGER, allowNull: false, primaryKey: true },
    email: { type: DataTypes.TEXT, allowNull: false },
    name: { type: DataTypes.TEXT },
  })
  const uniqueEmail = { fields: ['tenant_id', 'email'], name: 'users_email_unique' }
  await context.addConstraint('users', { ...uniqueEmail, type: 'unique' })
  await context.createTable('orders', {
    tenant_id: { ...tenantId, primaryKey: true },
    id: { type: DataTypes.BIGINT, autoIncrement: true, primaryKey: true },
    user_id: orderColumns,
    product_id: { ...orderColumns, references: { model: 'products', key: 'id' } },
    quantity: orderColumns,
    note: { type: DataTypes.TEXT },
  })
  // As SQL: the types of addConstraint know one referenced column only.
  await context.sequelize.query(`ALTER TABLE orders ADD CONSTRAINT orders_user_fk
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE`)
  const positive = { fields: ['quantity'], name: 'orders_quantity_positive' }
  const where = literal('quantity > 0')
  await context.addConstraint('orders', { ...positive, type: 'check', where: { where } })
  await context.addIndex('orders', ['tenant_id', 'user_id'], { name: 'orders_by_user' })
  await context.createTable('samples', sampleColumns())
  await context.createTable('settings', settingColumns())
}

const status = () => ({ type: DataTypes.TEXT, allowNull: false, defaultValue: 'new' })

/** The migrations in umzug's form. */
export const migrations = [
  { name: '0001_tables', up: createTables },
  {
    name: '0002_order_status',
    async up({ context }: { context: QueryInterface }) {
      // One transaction for both, as Sequelize's manual advises for migrations of several steps.
      await context.sequelize.transaction(async (transaction) => {
        await context.addColumn('orders', 'status', status(), { transaction })
        const index = { name: 'orders_by_status', transaction }
        await context.addIndex('orders', ['tenant_id', 'status'], index)
      })
    },
    async down({ context }: { context: QueryInterface }) {
      await context.removeIndex('orders', 'orders_by_status')
      await context.removeColumn('orders', 'status')
    },
  },
]

const hasAll = { timestamps: false, underscored: true } as const

/** The models. Associations carry user_id alone, so queries name the tenant on both sides. */
export function defineModels(sequelize: Sequelize) {
  const Tenant = sequelize.define(
    'Tenant',
    {
      tenantId: { ...tenantId, primaryKey: true },
      name: DataTypes.TEXT,
      plan: DataTypes.TEXT,
      createdAt: DataTypes.DATE,
    },
    { ...hasAll, tableName: 'tenants' },
  )
  const Product = sequelize.define(
    'Product',
    {
      id: { type: DataTypes.INTEGER, primaryKey: true },
      name: productName,
      price: DataTypes.DECIMAL(12, 2),
      sku: DataTypes.UUID,
    },
    { ...hasAll, tableName: 'products' },
  )
  const User = sequelize.define(
    'User',
    {
      tenantId: { ...tenantId, primaryKey: true },
      id: { type: DataTypes.INTEGER, primaryKey: true },
      email: DataTypes.TEXT,
      name: DataTypes.TEXT,
    },
    { ...hasAll, tableName: 'users' },
  )
  const Order = sequelize.define(
    'Order',
    {
      tenantId: { ...tenantId, primaryKey: true },
      id: { type: DataTypes.BIGINT, primaryKey: true, autoIncrement: true },
      userId: DataTypes.INTEGER,
      productId: DataTypes.INTEGER,
      quantity: DataTypes.INTEGER,
      note: DataTypes.TEXT,
      status: status(),
    },
    { ...hasAll, tableName: 'orders' },
  )
  const Sample = sequelize.define('Sample', sampleColumns(), { ...hasAll, tableName: 'samples' })
  const Setting = sequelize.define('Setting', settingColumns(), {
    ...hasAll,
    tableName: 'settings',
  })
  User.hasMany(Order, { as: 'orders', foreignKey: 'userId', sourceKey: 'id' })
  Order.belongsTo(Product, { as: 'product', foreignKey: 'productId' })
  return { Tenant, Product, User, Order, Sample, Setting }
}

/** What `defineModels` gives. */
export type Models = ReturnType<typeof defineModels>
