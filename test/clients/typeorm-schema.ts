// TypeORM's side of the tables: EntitySchema objects (decorators are no erasable syntax) and
// migrations on its query runner.
import {
  EntitySchema,
  Table,
  TableCheck,
  TableColumn,
  TableForeignKey,
  TableIndex,
  type MigrationInterface,
  type QueryRunner,
} from 'typeorm'

/** Row of the sharded table whose key is its primary key; bigint columns arrive as text. */
export type Tenant = { tenantId: string; name: string; plan: string; createdAt: Date }
/** Row of the reference table. */
export type Product = { id: number; name: string; price: string; sku: string }
/** Row of a sharded table. */
export type User = {
  tenantId: string
  id: number
  email: string
  name: string | null
  orders?: Order[]
}
/** Row of a sharded table with a generated id. */
export type Order = {
  tenantId: string
  id: string
  userId: number
  productId: number
  quantity: number
  note: string | null
  status: string
  user?: User
  product?: Product
}
/** Row of a sharded table with a column of each type. */
export type Sample = { tenantId: string; id: number } & Record<string, unknown>
/** Row of a home table. */
export type Setting = { name: string; value: unknown }

const key = { name: 'tenant_id', type: 'bigint', primary: true } as const

/** `tenants` */
export const tenantEntity = new EntitySchema<Tenant>({
  name: 'Tenant',
  tableName: 'tenants',
  columns: {
    tenantId: key,
    name: { type: 'text' },
    plan: { type: 'text', default: 'free' },
    createdAt: { name: 'created_at', type: 'timestamptz', createDate: true },
  },
})

/** `products` */
export const productEntity = new EntitySchema<Product>({
  name: 'Product',
  tableName: 'products',
  columns: {
    id: { type: 'int', primary: true },
    name: { type: 'text', unique: true },
    price: { type: 'numeric', precision: 12, scale: 2 },
    sku: { type: 'uuid', default: () => 'gen_random_uuid()' },
  },
})

/** `users` */
export const userEntity = new EntitySchema<User>({
  name: 'User',
  tableName: 'users',
  columns: {
    tenantId: key,
    id: { type: 'int', primary: true },
    email: { type: 'text' },
    name: { type: 'text', nullable: true },
  },
  relations: { orders: { type: 'one-to-many', target: 'Order', inverseSide: 'user' } },
})

/** `orders`: related to its user by both columns, so every join is tied to the tenant. */
export const orderEntity = new EntitySchema<Order>({
  name: 'Order',
  tableName: 'orders',
  columns: {
    tenantId: key,
    id: { type: 'bigint', primary: true, generated: 'increment' },
    userId: { name: 'user_id', type: 'int' },
    productId: { name: 'product_id', type: 'int' },
    quantity: { type: 'int' },
    note: { type: 'text', nullable: true },
    status: { type: 'text', default: 'new' },
  },
  relations: {
    user: {
      type: 'many-to-one',
      target: 'User',
      inverseSide: 'orders',
      joinColumn: [
        { name: 'tenant_id', referencedColumnName: 'tenantId' },
        { name: 'user_id', referencedColumnName: 'id' },
      ],
    },
    product: { type: 'many-to-one', target: 'Product', joinColumn: { name: 'product_id' } },
  },
})

/** `samples` */
export const sampleEntity = new EntitySchema<Sample>({
  name: 'Sample',
  tableName: 'samples',
  columns: {
    tenantId: key,
    id: { type: 'int', primary: true },
    small: { type: 'smallint', nullable: true },
    whole: { type: 'int', nullable: true },
    big: { type: 'bigint', nullable: true },
    ratio: { type: 'double precision', nullable: true },
    amount: { type: 'numeric', precision: 20, scale: 6, nullable: true },
    label: { type: 'text', nullable: true },
    code: { type: 'varchar', length: 20, nullable: true },
    flag: { type: 'boolean', nullable: true },
    at: { type: 'timestamptz', nullable: true },
    day: { type: 'date', nullable: true },
    token: { type: 'uuid', nullable: true },
    doc: { type: 'jsonb', nullable: true },
    words: { type: 'text', array: true, nullable: true },
    numbers: { type: 'int', array: true, nullable: true },
    bytes: { type: 'bytea', nullable: true },
  },
})

/** `settings` */
export const settingEntity = new EntitySchema<Setting>({
  name: 'Setting',
  tableName: 'settings',
  columns: { name: { type: 'text', primary: true }, value: { type: 'jsonb' } },
})

/** Creates the tables from the entities' metadata and adds what entities do not say. */
export class Tables1700000000001 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    const { driver, entityMetadatas } = runner.connection
    const names = ['tenants', 'products', 'users', 'orders', 'samples', 'settings']
    for (const name of names) {
      const metadata = entityMetadatas.find(({ tableName }) => tableName === name)
      if (metadata === undefined) throw new Error(`no entity for ${name}`)
      const table = Table.create(metadata, driver)
      table.columns = table.columns.filter((column) => column.name !== 'status')
      await runner.createTable(table)
    }
    const columnNames = ['tenant_id']
    const toTenant = {
      columnNames,
      referencedTableName: 'tenants',
      referencedColumnNames: columnNames,
    }
    await runner.createForeignKey('users', new TableForeignKey(toTenant))
    const email = {
      name: 'users_email_unique',
      columnNames: ['tenant_id', 'email'],
      isUnique: true,
    }
    await runner.createIndex('users', new TableIndex(email))
    const toUser = new TableForeignKey({
      name: 'orders_user_fk',
      columnNames: ['tenant_id', 'user_id'],
      referencedTableName: 'users',
      referencedColumnNames: ['tenant_id', 'id'],
      onDelete: 'CASCADE',
    })
    const toProduct = new TableForeignKey({
      columnNames: ['product_id'],
      referencedTableName: 'products',
      referencedColumnNames: ['id'],
    })
    await runner.createForeignKeys('orders', [toUser, toProduct])
    const positive = { name: 'orders_quantity_positive', expression: 'quantity > 0' }
    await runner.createCheckConstraint('orders', new TableCheck(positive))
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const name of ['settings', 'samples', 'orders', 'users', 'products', 'tenants']) {
      await runner.dropTable(name)
    }
  }
}

/** Adds a column and an index. */
export class OrderStatus1700000000002 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    const status = { name: 'status', type: 'text', default: `'new'`, isNullable: false }
    await runner.addColumn('orders', new TableColumn(status))
    const index = { name: 'orders_by_status', columnNames: ['tenant_id', 'status'] }
    await runner.createIndex('orders', new TableIndex(index))
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.dropIndex('orders', 'orders_by_status')
    await runner.dropColumn('orders', 'status')
  }
}
