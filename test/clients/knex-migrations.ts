// Migrations in Knex's own schema builder, handed to its migrator as objects instead of files.
import type { Knex } from 'knex'

const tables: Knex.Migration = {
  async up(knex) {
    await knex.schema.createTable('tenants', (table) => {
      table.bigInteger('tenant_id').primary()
      table.text('name').notNullable()
      table.text('plan').notNullable().defaultTo('free')
      table.timestamp('created_at', { useTz: true }).notNullable().defaultTo(knex.fn.now())
    })
    await knex.schema.createTable('products', (table) => {
      table.integer('id').primary()
      table.text('name').notNullable().unique()
      table.decimal('price', 12, 2).notNullable()
      table.uuid('sku').notNullable().defaultTo(knex.fn.uuid())
    })
    await knex.schema.createTable('users', (table) => {
      table.bigInteger('tenant_id').notNullable().references('tenants.tenant_id')
      table.integer('id').notNullable()
      table.text('email').notNullable()
      table.text('name')
      table.primary(['tenant_id', 'id'])
      table.unique(['tenant_id', 'email'], { indexName: 'users_email_unique' })
    })
    await knex.schema.createTable('orders', (table) => {
      table.bigInteger('tenant_id').notNullable()
      table.bigIncrements('id', { primaryKey: false })
      table.integer('user_id').notNullable()
      table.integer('product_id').notNullable().references('products.id')
      table.integer('quantity').notNullable().checkPositive('orders_quantity_positive')
      table.text('note')
      table.primary(['tenant_id', 'id'])
      table
        .foreign(['tenant_id', 'user_id'])
        .references(['tenant_id', 'id'])
        .inTable('users')
        .onDelete('CASCADE')
      table.index(['tenant_id', 'user_id'], 'orders_by_user')
    })
    await knex.schema.createTable('samples', sampleColumns)
    await knex.schema.createTable('settings', (table) => {
      table.text('name').primary()
      table.jsonb('value').notNullable()
    })
  },
  async down(knex) {
    for (const name of ['settings', 'samples', 'orders', 'users', 'products', 'tenants']) {
      await knex.schema.dropTable(name)
    }
  },
}

function sampleColumns(table: Knex.CreateTableBuilder): void {
  table.bigInteger('tenant_id').notNullable()
  table.integer('id').notNullable()
  table.smallint('small')
  table.integer('whole')
  table.bigInteger('big')
  table.double('ratio')
  table.decimal('amount', 20, 6)
  table.text('label')
  table.string('code', 20)
  table.boolean('flag')
  table.timestamp('at', { useTz: true })
  table.date('day')
  table.uuid('token')
  table.jsonb('doc')
  table.specificType('words', 'text[]')
  table.specificType('numbers', 'integer[]')
  table.binary('bytes')
  table.primary(['tenant_id', 'id'])
}

const orderStatus: Knex.Migration = {
  async up(knex) {
    await knex.schema.alterTable('orders', (table) => {
      table.text('status').notNullable().defaultTo('new')
      table.index(['tenant_id', 'status'], 'orders_by_status')
    })
  },
  async down(knex) {
    await knex.schema.alterTable('orders', (table) => {
      table.dropIndex(['tenant_id', 'status'], 'orders_by_status')
      table.dropColumn('status')
    })
  },
}

type Named = { readonly name: string; readonly migration: Knex.Migration }

/** Where Knex's migrator finds the migrations. */
export const migrationSource: Knex.MigrationSource<Named> = {
  getMigrations: async () => [
    { name: '0001_tables', migration: tables },
    { name: '0002_order_status', migration: orderStatus },
  ],
  getMigrationName: ({ name }) => name,
  getMigration: async ({ migration }) => migration,
}
