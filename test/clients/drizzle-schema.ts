// The tables in Drizzle's terms. The SQL under drizzle/ is what drizzle-kit generates from this file.
import { relations, sql } from 'drizzle-orm'
import {
  bigint,
  bigserial,
  boolean,
  check,
  customType,
  date,
  doublePrecision,
  foreignKey,
  index,
  integer,
  jsonb,
  numeric,
  pgTable,
  primaryKey,
  smallint,
  text,
  timestamp,
  unique,
  uuid,
  varchar,
} from 'drizzle-orm/pg-core'

const bytea = customType<{ data: Uint8Array; driverData: Uint8Array }>({ dataType: () => 'bytea' })
const tenantId = () => bigint('tenant_id', { mode: 'bigint' }).notNull()

/** Sharded; its key is its primary key. */
export const tenants = pgTable('tenants', {
  tenantId: tenantId().primaryKey(),
  name: text('name').notNull(),
  plan: text('plan').notNull().default('free'),
  createdAt: timestamp('created_at', { withTimezone: true }).notNull().defaultNow(),
})

/** A reference table. */
export const products = pgTable('products', {
  id: integer('id').primaryKey(),
  name: text('name').notNull().unique(),
  price: numeric('price', { precision: 12, scale: 2 }).notNull(),
  sku: uuid('sku').notNull().defaultRandom(),
})

/** Sharded. */
export const users = pgTable(
  'users',
  {
    tenantId: tenantId().references(() => tenants.tenantId),
    id: integer('id').notNull(),
    email: text('email').notNull(),
    name: text('name'),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.id] }),
    unique('users_email_unique').on(table.tenantId, table.email),
  ],
)

/** Sharded, with ids that the database generates. */
export const orders = pgTable(
  'orders',
  {
    tenantId: tenantId(),
    id: bigserial('id', { mode: 'bigint' }).notNull(),
    userId: integer('user_id').notNull(),
    productId: integer('product_id')
      .notNull()
      .references(() => products.id),
    quantity: integer('quantity').notNull(),
    note: text('note'),
    status: text('status').notNull().default('new'),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.id] }),
    foreignKey({
      name: 'orders_user_fk',
      columns: [table.tenantId, table.userId],
      foreignColumns: [users.tenantId, users.id],
    }).onDelete('cascade'),
    check('orders_quantity_positive', sql`${table.quantity} > 0`),
    index('orders_by_user').on(table.tenantId, table.userId),
    index('orders_by_status').on(table.tenantId, table.status),
  ],
)

/** Sharded; a column of each type. */
export const samples = pgTable(
  'samples',
  {
    tenantId: tenantId(),
    id: integer('id').notNull(),
    small: smallint('small'),
    whole: integer('whole'),
    big: bigint('big', { mode: 'bigint' }),
    ratio: doublePrecision('ratio'),
    amount: numeric('amount', { precision: 20, scale: 6 }),
    label: text('label'),
    code: varchar('code', { length: 20 }),
    flag: boolean('flag'),
    at: timestamp('at', { withTimezone: true }),
    day: date('day'),
    token: uuid('token'),
    doc: jsonb('doc'),
    words: text('words').array(),
    numbers: integer('numbers').array(),
    bytes: bytea('bytes'),
  },
  (table) => [primaryKey({ columns: [table.tenantId, table.id] })],
)

/** A home table. */
export const settings = pgTable('settings', {
  name: text('name').primaryKey(),
  value: jsonb('value').notNull(),
})

/** One tenant's relations: each is tied to the tenant, so each stays on its shard. */
export const userRelations = relations(users, ({ one, many }) => ({
  tenant: one(tenants, { fields: [users.tenantId], references: [tenants.tenantId] }),
  orders: many(orders),
}))

/** The other side: what an order belongs to. */
export const orderRelations = relations(orders, ({ one }) => ({
  user: one(users, {
    fields: [orders.tenantId, orders.userId],
    references: [users.tenantId, users.id],
  }),
  product: one(products, { fields: [orders.productId], references: [products.id] }),
}))
