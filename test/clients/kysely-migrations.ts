// Migrations in Kysely's own schema builder, handed to its migrator as objects instead of files.
import { type CreateTableBuilder, type Kysely, sql } from 'kysely'
import type { Migration, MigrationProvider } from 'kysely/migration'

type Database = Kysely<unknown>

const tables: Migration = {
  async up(db: Database) {
    await db.schema
      .createTable('tenants')
      .addColumn('tenant_id', 'bigint', (column) => column.primaryKey())
      .addColumn('name', 'text', (column) => column.notNull())
      .addColumn('plan', 'text', (column) => column.notNull().defaultTo('free'))
      .addColumn('created_at', 'timestamptz', (column) => column.notNull().defaultTo(sql`now()`))
      .execute()
    await db.schema
      .createTable('products')
      .addColumn('id', 'integer', (column) => column.primaryKey())
      .addColumn('name', 'text', (column) => column.notNull().unique())
      .addColumn('price', 'numeric(12, 2)', (column) => column.notNull())
      .addColumn('sku', 'uuid', (column) => column.notNull().defaultTo(sql`gen_random_uuid()`))
      .execute()
    await db.schema
      .createTable('users')
      .addColumn('tenant_id', 'bigint', (column) =>
        column.notNull().references('tenants.tenant_id'),
      )
      .addColumn('id', 'integer', (column) => column.notNull())
      .addColumn('email', 'text', (column) => column.notNull())
      .addColumn('name', 'text')
      .addPrimaryKeyConstraint('users_pkey', ['tenant_id', 'id'])
      .addUniqueConstraint('users_email_unique', ['tenant_id', 'email'])
      .execute()
    await createOrders(db)
    await sampleColumns(db.schema.createTable('samples')).execute()
    await db.schema
      .createTable('settings')
      .addColumn('name', 'text', (column) => column.primaryKey())
      .addColumn('value', 'jsonb', (column) => column.notNull())
      .execute()
  },
  async down(db: Database) {
    for (const name of ['settings', 'samples', 'orders', 'users', 'products', 'tenants']) {
      await db.schema.dropTable(name).execute()
    }
  },
}

async function createOrders(db: Database): Promise<void> {
  await db.schema
    .createTable('orders')
    .addColumn('tenant_id', 'bigint', (column) => column.notNull())
    .addColumn('id', 'bigserial', (column) => column.notNull())
    .addColumn('user_id', 'integer', (column) => column.notNull())
    .addColumn('product_id', 'integer', (column) => column.notNull().references('products.id'))
    .addColumn('quantity', 'integer', (column) => column.notNull())
    .addColumn('note', 'text')
    .addPrimaryKeyConstraint('orders_pkey', ['tenant_id', 'id'])
    .addCheckConstraint('orders_quantity_positive', sql`quantity > 0`)
    .addForeignKeyConstraint(
      'orders_user_fk',
      ['tenant_id', 'user_id'],
      'users',
      ['tenant_id', 'id'],
      (key) => key.onDelete('cascade'),
    )
    .execute()
  await db.schema
    .createIndex('orders_by_user')
    .on('orders')
    .columns(['tenant_id', 'user_id'])
    .execute()
}

function sampleColumns<Name extends string>(table: CreateTableBuilder<Name>) {
  return table
    .addColumn('tenant_id', 'bigint', (column) => column.notNull())
    .addColumn('id', 'integer', (column) => column.notNull())
    .addColumn('small', 'smallint')
    .addColumn('whole', 'integer')
    .addColumn('big', 'bigint')
    .addColumn('ratio', 'double precision')
    .addColumn('amount', 'numeric(20, 6)')
    .addColumn('label', 'text')
    .addColumn('code', 'varchar(20)')
    .addColumn('flag', 'boolean')
    .addColumn('at', 'timestamptz')
    .addColumn('day', 'date')
    .addColumn('token', 'uuid')
    .addColumn('doc', 'jsonb')
    .addColumn('words', sql`text[]`)
    .addColumn('numbers', sql`integer[]`)
    .addColumn('bytes', 'bytea')
    .addPrimaryKeyConstraint('samples_pkey', ['tenant_id', 'id'])
}

const orderStatus: Migration = {
  async up(db: Database) {
    await db.schema
      .alterTable('orders')
      .addColumn('status', 'text', (column) => column.notNull().defaultTo('new'))
      .execute()
    await db.schema
      .createIndex('orders_by_status')
      .on('orders')
      .columns(['tenant_id', 'status'])
      .execute()
  },
  async down(db: Database) {
    await db.schema.dropIndex('orders_by_status').execute()
    await db.schema.alterTable('orders').dropColumn('status').execute()
  },
}

/** Where Kysely's migrator finds the migrations. */
export const migrationProvider: MigrationProvider = {
  getMigrations: async () => ({ '0001_tables': tables, '0002_order_status': orderStatus }),
}
