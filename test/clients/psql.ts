// psql: simple protocol, its own variables and conditions, \copy, \d, cursors by FETCH_COUNT and
// automatic savepoints by ON_ERROR_ROLLBACK. An observation is what it prints.
import {
  emailOf,
  products,
  sampleColumns,
  tenantId,
  tenantIds,
  crowd,
  manyUsers,
} from './fixtures.ts'
import { observed, unordered, type Json } from './observed.ts'
import type { Program, Target } from './program.ts'
import { runProgram } from './run-program.ts'
import { bookkeepingSql } from './sql-files.ts'

const sqlFolder = new URL('./sql', import.meta.url).pathname

/** The program of psql. */
export const psqlProgram: Program<Target> = {
  open: async (target) => target,
  close: async () => {},
  steps: {
    migrate: applyMigrations,
    migrateAgain: applyMigrations,
    create: createRows,
    change: changeRows,
    commit: (target) => replaceOrder(target, 9, 'COMMIT'),
    rollback: (target) => replaceOrder(target, 100, 'ROLLBACK'),
    fail: failInTransaction,
    savepoint: useSavepoint,
    relate: readRelations,
    types: roundTrip,
    prepared: repeatPrepared,
    across: readAcross,
    reference: changeReference,
    home: useHomeTable,
    bulk: writeInBulk,
    crowd: countInCrowd,
  },
  more: {
    'a large result is fetched in parts by a cursor': fetchInParts,
    '\\copy writes and reads the rows of one tenant': copyRows,
    '\\d describes a table with its keys and indexes': describeTable,
  },
}

/** What psql prints for `script`; errors are part of it, and it goes on after them. */
async function say(target: Target, script: string, argv: readonly string[] = []): Promise<Json> {
  const base = ['--no-psqlrc', '--quiet', '--no-align', '--file', '-']
  const { stdout, stderr, exitCode } = await runProgram('psql', target, [...base, ...argv], script)
  return observed({ stdout: stdout.split('\n'), stderr, exitCode })
}

/** The rows that psql prints for the queries of `script`, without headings. */
async function rows(target: Target, script: string): Promise<string[]> {
  const argv = ['--no-psqlrc', '--no-align', '--tuples-only', '--file', '-']
  const { stdout, stderr, exitCode } = await runProgram('psql', target, argv, script)
  if (exitCode !== 0) throw new Error(stderr)
  return stdout.split('\n').filter((line) => line !== '')
}

async function applyMigrations(target: Target) {
  const apply = (name: string) => `
    SELECT count(*) = 0 AS todo FROM migrations WHERE name = '${name}' \\gset
    \\if :todo
      \\echo applying ${name}
      BEGIN;
      \\i ${sqlFolder}/${name}
      INSERT INTO migrations VALUES ('${name}', now());
      COMMIT;
    \\endif`
  const files = ['0001_tables.sql', '0002_order_status.sql'].map(apply)
  const list = 'SELECT name, applied_at IS NOT NULL AS applied FROM migrations ORDER BY name;'
  const script = [`${bookkeepingSql};`, ...files, list].join('\n')
  return say(target, script, ['--set', 'ON_ERROR_STOP=1'])
}

async function createRows(target: Target) {
  const lines = products.map(
    ({ id, name, price }) => `INSERT INTO products (id, name, price)
      VALUES (${id}, '${name}', ${price}) RETURNING id, name, price;`,
  )
  for (const tenant of tenantIds) {
    lines.push(
      `INSERT INTO tenants (tenant_id, name) VALUES (${tenant}, 'tenant ${tenant}')
        RETURNING tenant_id, name, plan;`,
      `INSERT INTO users (tenant_id, id, email) VALUES (${tenant}, 1, '${emailOf(tenant, 1)}'),
        (${tenant}, 2, '${emailOf(tenant, 2)}') RETURNING *;`,
    )
    for (const [user, product] of [
      [1, 1],
      [1, 2],
      [2, 3],
    ] as const) {
      lines.push(`INSERT INTO orders (tenant_id, user_id, product_id, quantity)
        VALUES (${tenant}, ${user}, ${product}, ${user + product})
        RETURNING id > 0 AS generated, tenant_id, user_id, product_id, quantity;`)
    }
  }
  return say(target, lines.join('\n'))
}

async function changeRows(target: Target) {
  const upsert = (id: number, email: string) => `
    INSERT INTO users VALUES (:t, ${id}, '${email}', 'Ann')
      ON CONFLICT (tenant_id, email) DO UPDATE SET name = excluded.name || '!' RETURNING *;`
  return say(
    target,
    `
    \\set t ${tenantId}
    UPDATE orders SET quantity = quantity + 5, status = 'packed'
      WHERE tenant_id = :t AND product_id = 2 RETURNING quantity, status;
    ${upsert(99, emailOf(tenantId, 1))}
    ${upsert(3, emailOf(tenantId, 3))}
    \\set QUIET off
    DELETE FROM users WHERE tenant_id = :t AND id = 3;
    DELETE FROM users WHERE tenant_id = :t AND id = 1234;
    \\echo :ROW_COUNT rows`,
  )
}

async function replaceOrder(target: Target, quantity: number, end: 'COMMIT' | 'ROLLBACK') {
  const units = `SELECT count(*), sum(quantity) FROM orders WHERE tenant_id = ${tenantId};`
  return say(
    target,
    `
    \\set QUIET off
    BEGIN ISOLATION LEVEL SERIALIZABLE;
    DELETE FROM orders WHERE tenant_id = ${tenantId} AND product_id = 1;
    INSERT INTO orders (tenant_id, user_id, product_id, quantity)
      VALUES (${tenantId}, 2, 1, ${quantity});
    SHOW transaction_isolation;
    ${units}
    ${end};
    ${units}`,
  )
}

async function failInTransaction(target: Target) {
  const order = 'INSERT INTO orders (tenant_id, user_id, product_id, quantity) VALUES'
  return say(
    target,
    `
    \\set QUIET off
    \\set VERBOSITY sqlstate
    BEGIN;
    UPDATE tenants SET plan = 'lost' WHERE tenant_id = ${tenantId};
    INSERT INTO users (tenant_id, id, email) VALUES (${tenantId}, 1, 'other@x.test');
    SELECT 1;
    COMMIT;
    SELECT plan FROM tenants WHERE tenant_id = ${tenantId};
    \\set VERBOSITY default
    SELECT no_such_column FROM users WHERE tenant_id = ${tenantId};
    ${order} (${tenantId}, 77, 1, 1);
    SELECT nonsense nonsense nonsense;
    \\echo :SQLSTATE :LAST_ERROR_MESSAGE
    SELECT * FROM users WHERE tenant_id = ${tenantId} AND id = 'x';`,
  )
}

async function useSavepoint(target: Target) {
  return say(
    target,
    `
    \\set ON_ERROR_ROLLBACK on
    BEGIN;
    UPDATE users SET name = 'kept' WHERE tenant_id = ${tenantId} AND id = 1;
    SELECT 1 / 0;
    SAVEPOINT mine;
    UPDATE users SET name = 'taken back' WHERE tenant_id = ${tenantId} AND id = 2;
    ROLLBACK TO SAVEPOINT mine;
    COMMIT;
    SELECT id, name FROM users WHERE tenant_id = ${tenantId} ORDER BY id;`,
  )
}

async function readRelations(target: Target) {
  const queries = tenantIds.slice(0, 6).map(
    (tenant) => `WITH bought AS (
        SELECT tenant_id, user_id, sum(quantity) AS units FROM orders WHERE tenant_id = ${tenant}
        GROUP BY tenant_id, user_id)
      SELECT t.name, u.email, b.units FROM tenants t JOIN users u USING (tenant_id)
        JOIN bought b ON b.tenant_id = u.tenant_id AND b.user_id = u.id
      WHERE t.tenant_id = ${tenant} ORDER BY u.id;`,
  )
  return say(target, queries.join('\n'))
}

async function roundTrip(target: Target) {
  const names = ['tenant_id', 'id', ...sampleColumns].join()
  const values = `-32768, 2147483647, 9223372036854775807, 0.1, 12345678901234.567891,
    E'na\\u00efve "quotes" \\\\ and \\' and\\nlines \\u20ac', 'A-1', true, '2024-02-29 12:34:56.789Z',
    '1999-12-31', '9b2fdc7c-0f9d-4f7b-8e1a-0a2a5b9f3c11', '{"text": "a\\"b", "list": [1, null]}',
    ARRAY['one', 'with, comma', 'quote"d', ''], '{1,-2,3}', '\\x00015c27ff'`
  const scripts = tenantIds.slice(-4).map(
    (tenant) => `INSERT INTO samples (${names}) VALUES (${tenant}, 1, ${values}) RETURNING *;
      INSERT INTO samples (tenant_id, id) VALUES (${tenant}, 2) RETURNING *;
      \\x on
      SET timezone = 'Asia/Kathmandu';
      SET datestyle = 'German';
      SELECT * FROM samples WHERE tenant_id = ${tenant} AND numbers @> '{-2}';
      RESET datestyle;
      RESET timezone;
      \\x off`,
  )
  return say(target, scripts.join('\n'), ['--set', 'ON_ERROR_STOP=1'])
}

async function repeatPrepared(target: Target) {
  const query = `SELECT :tenant AS asked, email FROM users WHERE tenant_id = :'tenant' AND id = 1;`
  const asked = tenantIds.map((tenant) => `\\set tenant ${tenant}\n${query}`)
  return say(target, [...asked, ...asked].join('\n'))
}

async function readAcross(target: Target) {
  const all = await rows(target, 'SELECT tenant_id, id, email FROM users')
  const some = await rows(target, `SELECT tenant_id, name FROM tenants WHERE name LIKE '%1%'`)
  const list = '(1, 2, 9007199254740993)'
  const few = await rows(target, `SELECT tenant_id, name FROM tenants WHERE tenant_id IN ${list}`)
  return [all, some, few].map(unordered)
}

async function changeReference(target: Target) {
  const raise = 'UPDATE products SET price = price * 2 WHERE id = 2 RETURNING id, price'
  const raised = await rows(target, raise)
  const queries = tenantIds.map(
    (tenant) => `SELECT o.tenant_id, p.price, p.sku FROM orders o JOIN products p
      ON p.id = o.product_id WHERE o.tenant_id = ${tenant} AND p.id = 2;`,
  )
  const seen = (await rows(target, queries.join('\n'))).map((row) => row.split('|'))
  const skus = new Set(seen.map(([, , sku]) => sku))
  const prices = seen.map(([tenant, price]) => [tenant, price])
  return observed({ raised, prices, skus: skus.size })
}

async function useHomeTable(target: Target) {
  const set = (name: string, value: string) => `INSERT INTO settings VALUES ('${name}', '${value}')
    ON CONFLICT (name) DO UPDATE SET value = excluded.value RETURNING *;`
  const writes = [
    set('theme', '{"dark": true}'),
    set('theme', '{"dark": false}'),
    set('limit', '10'),
  ]
  return say(target, [...writes, 'SELECT * FROM settings ORDER BY name DESC LIMIT 5;'].join('\n'))
}

async function fetchInParts(target: Target) {
  return say(
    target,
    `
    \\set FETCH_COUNT 10
    SELECT tenant_id, id, number FROM users, generate_series(1, 15) AS number
      WHERE tenant_id = 5 ORDER BY id, number;`,
  )
}

async function copyRows(target: Target) {
  const lines = Array.from({ length: 50 }, (_, index) => `5\t${index + 100}\tlabel, ${index}\t\\N`)
  const copied = await say(
    target,
    [
      '\\set QUIET off',
      '\\copy samples (tenant_id, id, label, big) FROM STDIN',
      ...lines,
      '\\.',
      `COPY (SELECT id, label, big FROM samples WHERE tenant_id = 5 ORDER BY id LIMIT 3) TO STDOUT;`,
      `\\copy (SELECT id, big FROM samples WHERE tenant_id = 5 ORDER BY id LIMIT 2) TO STDOUT CSV`,
    ].join('\n'),
  )
  return { copied, count: await rows(target, 'SELECT count(*) FROM samples WHERE tenant_id = 5') }
}

async function describeTable(target: Target) {
  return say(target, '\\d orders\n\\d samples\n\\d nowhere')
}

async function writeInBulk(target: Target) {
  const values = manyUsers.map(({ id, email }) => `(4, ${id}, '${email}')`)
  return say(
    target,
    `INSERT INTO users (tenant_id, id, email) VALUES ${values.join(', ')} RETURNING email;
    \\set QUIET off
    DELETE FROM users WHERE tenant_id = 4 AND id >= 1000;`,
  )
}

async function countInCrowd(target: Target) {
  const mine = 'WHERE tenant_id = 5 AND product_id = 1'
  const raise = () =>
    say(
      target,
      `BEGIN;
      SELECT quantity + 1 AS next FROM orders ${mine} FOR UPDATE \\gset
      UPDATE orders SET quantity = :next ${mine};
      COMMIT;
      \\echo :next`,
    )
  return unordered(await Promise.all(Array.from({ length: crowd }, raise)))
}
