// MikroORM: its migrator, unit of work, identity map, populated relations, nested transactions. A program of its own,
// like those in other languages: one line of JSON per step on standard output.
import { Migration, Migrator } from '@mikro-orm/migrations'
import {
  defineEntity,
  type EntityManager,
  LockMode,
  MikroORM,
  p,
  raw,
  sql,
} from '@mikro-orm/postgresql'
import { crowd, sampleValues } from './fixtures.ts'
import { failure, observed } from './observed.ts'

const Customer = defineEntity({
  name: 'Customer',
  properties: {
    id: p.integer().primary(),
    name: p.string().unique(),
    visits: p.integer().default(0),
    orders: () => p.oneToMany(Order).mappedBy('customer'),
  },
})
const Order = defineEntity({
  name: 'Order',
  tableName: 'orders',
  properties: {
    id: p.integer().primary(),
    customer: () => p.manyToOne(Customer),
    quantity: p.integer(),
    note: p.text().nullable(),
    status: p.string().default('new'),
  },
})
const Sample = defineEntity({
  name: 'Sample',
  properties: {
    id: p.integer().primary(),
    big: p.bigint().nullable(),
    ratio: p.double().nullable(),
    amount: p.decimal().nullable(),
    label: p.text().nullable(),
    flag: p.boolean().nullable(),
    at: p.datetime().nullable(),
    day: p.date().nullable(),
    token: p.uuid().nullable(),
    doc: p.json<object>().nullable(),
    words: p.array().nullable(),
    bytes: p.blob().nullable(),
  },
})

class Tables extends Migration {
  override up(): void {
    this.addSql(`CREATE TABLE customer (id serial PRIMARY KEY, name varchar(255) NOT NULL UNIQUE,
      visits int NOT NULL DEFAULT 0)`)
    this.addSql(`CREATE TABLE orders (id serial PRIMARY KEY, customer_id int NOT NULL REFERENCES customer,
      quantity int NOT NULL CHECK (quantity > 0), note text)`)
    this.addSql(`CREATE TABLE sample (id serial PRIMARY KEY, big bigint, ratio double precision,
      amount numeric(20, 6), label text, flag boolean, at timestamptz, day date, token uuid, doc jsonb, words text[],
      bytes bytea)`)
  }

  override down(): void {
    this.addSql('DROP TABLE sample, orders, customer')
  }
}

class Status extends Migration {
  override up(): void {
    this.addSql(`ALTER TABLE orders ADD status varchar(255) NOT NULL DEFAULT 'new'`)
  }

  override down(): void {
    this.addSql('ALTER TABLE orders DROP status')
  }
}

const { PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE } = process.env
const place = { host: PGHOST ?? '', port: Number(PGPORT), dbName: PGDATABASE ?? '' }
const orm = await MikroORM.init({
  logger: () => {},
  ...place,
  user: PGUSER ?? '',
  password: PGPASSWORD ?? '',
  entities: [Customer, Order, Sample],
  extensions: [Migrator],
  migrations: {
    migrationsList: [
      { name: '0001_tables', class: Tables },
      { name: '0002_status', class: Status },
    ],
    snapshot: false,
  },
  // Before PGSSLMODE of the environment.
  driverOptions: { ssl: false },
  pool: { min: 0, max: crowd },
})

async function migrate() {
  const names = (found: readonly { readonly name: string }[]) => found.map(({ name }) => name)
  const { migrator } = orm
  const up = names(await migrator.up())
  const down = names(await migrator.down({ to: 0 }))
  const again = names(await migrator.up())
  const rows = await orm.em.fork().execute('SELECT name FROM mikro_orm_migrations ORDER BY id')
  return { up, down, again, rows, pending: await migrator.getPending() }
}

async function crud() {
  const em = orm.em.fork()
  const ann = em.create(Customer, { name: 'Ann' })
  const order = em.create(Order, { customer: ann, quantity: 3, note: 'naïve "quotes" \' \\ €' })
  const bob = em.create(Customer, { name: 'Bob', visits: 2 })
  await em.flush()
  order.quantity += 4
  em.remove(bob)
  await em.flush()
  const other = orm.em.fork()
  const changed = await other.nativeUpdate(
    Order,
    { customer: { name: 'Ann' } },
    { status: 'packed' },
  )
  const [found] = await other.find(Order, { quantity: { $gt: 5 } })
  return { ids: [ann.id, bob.id], found, changed, names: await other.findAll(Customer) }
}

async function bulk() {
  const em = orm.em.fork()
  const many = Array.from({ length: 300 }, (_, at) => ({ name: `many ${at}`, visits: at }))
  const made = await em.insertMany(Customer, many)
  const visits = raw('visits + 1')
  const changed = await em.nativeUpdate(Customer, { name: { $like: 'many%' } }, { visits })
  const [page, total] = await em.findAndCount(Customer, { name: { $like: 'many%' } }, pageOf)
  return { made: made.length, changed, page, total }
}

const pageOf = { orderBy: { visits: 'desc' }, limit: 3, offset: 10 } as const

async function upsert() {
  const seen = []
  for (const visits of [5, 6]) {
    const { id } = await orm.em.fork().upsert(Customer, { name: 'Ann', visits })
    seen.push([id, visits])
  }
  return { seen, ann: await orm.em.fork().findOneOrFail(Customer, { name: 'Ann' }) }
}

async function transactions() {
  const add = (giveUp: boolean) =>
    orm.em.fork().transactional(async (em) => {
      em.create(Customer, { name: `in a transaction ${giveUp}` })
      await em.flush()
      if (giveUp) throw new Error('given up')
    })
  await add(false)
  const end = await add(true).catch((error: unknown) => String(error))
  return { end, found: await orm.em.fork().find(Customer, { name: { $like: 'in a%' } }) }
}

async function nested() {
  let trouble: unknown
  await orm.em.fork().transactional(async (em) => {
    const rename = (on: EntityManager, visits: number) =>
      on.nativeUpdate(Customer, { name: 'Ann' }, { visits })
    await rename(em, 10)
    const work = em.transactional(async (inner) => {
      await rename(inner, 11)
      await inner.execute('SELECT 1 / ?::int', [0])
    })
    trouble = await failure(work)
  })
  return { trouble, ann: await orm.em.fork().findOneOrFail(Customer, { name: 'Ann' }) }
}

async function fail() {
  const em = () => orm.em.fork()
  return [
    await failure(em().insert(Customer, { name: 'Ann' })),
    await failure(em().insert(Order, { customer: 1, quantity: 0 })),
    await failure(em().insert(Order, { customer: 0, quantity: 1 })),
    await failure(em().execute('SELECT nothing FROM orders')),
  ]
}

async function relate() {
  const em = orm.em.fork()
  const ann = await em.findOneOrFail(Customer, { name: 'Ann' }, { populate: ['orders'] })
  for (const quantity of [1, 2]) ann.orders.add(em.create(Order, { customer: ann, quantity }))
  await em.flush()
  const seen = []
  for (const strategy of ['joined', 'select-in', 'balanced'] as const) {
    const where = { orders: { quantity: { $gt: 1 } } }
    const options = { populate: ['orders'], orderBy: { orders: { id: 'asc' } }, strategy } as const
    seen.push(await orm.em.fork().find(Customer, where, options))
  }
  return seen
}

async function rawSql() {
  const em = orm.em.fork()
  const query = `SELECT name, visits * ? AS score, ?::jsonb AS doc FROM customer WHERE name = ?`
  const rows = await em.execute(query, [2, '{"a": 1}', 'Ann'])
  const builder = em.createQueryBuilder(Customer, 'c').select([sql`count(*) AS total`])
  return { rows, counted: await builder.where({ visits: { $gt: 100 } }).execute() }
}

async function types() {
  const em = orm.em.fork()
  const { big, ratio, amount, label, flag, at, day, token, doc, words } = sampleValues
  const bytes = Buffer.from(sampleValues.bytes)
  const values = { big, ratio, amount, label, flag, at, day, token, doc, words: [...words], bytes }
  em.create(Sample, values)
  em.create(Sample, {})
  await em.flush()
  const other = orm.em.fork()
  const found = await other.find(Sample, { doc: { text: 'a"b' }, words: { $contains: ['one'] } })
  return { all: await other.findAll(Sample, { orderBy: { id: 'asc' } }), found: found.length }
}

async function countInCrowd() {
  const raise = () =>
    orm.em.fork().transactional(async (em) => {
      const lockMode = LockMode.PESSIMISTIC_WRITE
      const ann = await em.findOneOrFail(Customer, { name: 'Ann' }, { lockMode })
      ann.visits += 1
      return ann.visits
    })
  const seen = await Promise.all(Array.from({ length: crowd }, raise))
  return seen.toSorted((a, b) => a - b)
}

async function reconnect() {
  const seen = []
  for (let round = 0; round < 3; round += 1) {
    await orm.close()
    await orm.connect()
    seen.push(await orm.em.fork().findOneOrFail(Customer, { name: 'Ann' }))
  }
  return seen
}

const steps = {
  migrate,
  crud,
  bulk,
  upsert,
  transactions,
  nested,
  fail,
  relate,
  raw: rawSql,
  types,
  crowd: countInCrowd,
  reconnect,
}
const say = (step: string, seen: unknown) =>
  process.stdout.write(`${JSON.stringify({ step, seen: observed(seen) })}\n`)
say('version', process.argv[2])
for (const [name, step] of Object.entries(steps)) say(name, await step())
await orm.close()
