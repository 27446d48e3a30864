// The demo's rows, computed by PostgreSQL from the tenants' numbers: the same on every machine and
// every day, so that documentation and tests can quote them. Ids are made of the tenant's, so no
// two shards share one.

/** Tenants 1 to 100. */
export const sampleTenants: readonly bigint[] = Array.from({ length: 100 }, (_, index) =>
  BigInt(index + 1),
)

/** Ids of the rows below are smaller; sequences go on from here. */
export const firstFreeId = 1_024_000

/** The same on every shard: 50 products. */
export const sampleProductsSql = `
INSERT INTO products (id, sku, name, price)
SELECT n,
       format('SKU-%s', to_char(n, 'FM0000')),
       (ARRAY['Red', 'Green', 'Blue', 'Black', 'White'])[1 + n % 5] || ' ' ||
       (ARRAY['mug', 'notebook', 'lamp', 'bag', 'clock', 'chair', 'map'])[1 + n % 7],
       4.90 + n * 37 % 95
  FROM generate_series(1, 50) AS n`

/**
 * Statements that fill the sharded tables; $1 is the array of the tenants that live on the shard.
 */
export const sampleRowsSql: readonly string[] = [
  `
INSERT INTO tenants (tenant_id, name, plan, created_at)
SELECT t,
       (ARRAY['Harbour', 'Summit', 'Meadow', 'Copper', 'Lantern', 'Orchard', 'Falcon'])[1 + t % 7]
       || ' ' || (ARRAY['Books', 'Bikes', 'Coffee', 'Tools', 'Gardens'])[1 + t % 5] || ' ' || t,
       (ARRAY['free', 'team', 'enterprise'])[1 + t * 5 % 3],
       timestamptz '2025-01-01 08:00:00Z' + t * interval '31 hours'
  FROM unnest($1::bigint[]) AS t`,
  // 3 to 8 for each tenant.
  `
INSERT INTO users (tenant_id, id, email, name, created_at)
SELECT t, t * 100 + n,
       format('user%s@tenant%s.example', n, t),
       (ARRAY['Ada', 'Ben', 'Chloé', 'Dmitri', 'Emre', 'Fatima', 'Håkon', 'Inés'])[n],
       timestamptz '2025-02-01 09:00:00Z' + (t * 7 + n) * interval '5 hours'
  FROM unnest($1::bigint[]) AS t, generate_series(1, 3 + t % 6) AS n`,
  // 5 to 15 orders for each tenant with 1 to 4 items each; the total is that of the items.
  `
WITH item AS (
  SELECT t, n, line, (t * 100 + n) AS order_id, p.id AS product_id, p.price,
         1 + (t + n + line) % 3 AS quantity
    FROM unnest($1::bigint[]) AS t
   CROSS JOIN generate_series(1, 5 + t * 7 % 11) AS n
   CROSS JOIN generate_series(1, 1 + (t + n) % 4) AS line
    JOIN products AS p ON p.id = 1 + (t * 13 + n * 7 + line * 17) % 50
), new_order AS (
  INSERT INTO orders (tenant_id, id, user_id, status, total, placed_at)
  SELECT t, order_id, t * 100 + 1 + n % (3 + t % 6),
         (ARRAY['open', 'paid', 'shipped', 'cancelled'])[1 + (t + n * 3) % 4],
         sum(price * quantity),
         timestamptz '2025-03-01 10:00:00Z' + (t * 3 + n * 29) * interval '90 minutes'
    FROM item GROUP BY t, n, order_id
)
INSERT INTO order_items (tenant_id, id, order_id, product_id, quantity, unit_price)
SELECT t, order_id * 10 + line, order_id, product_id, quantity, price FROM item`,
  // 10 to 30 for each tenant.
  `
INSERT INTO events (tenant_id, id, kind, detail, at)
SELECT t, t * 100 + n,
       (ARRAY['login', 'page_view', 'cart_add', 'checkout', 'support_ticket'])[1 + (t + n) % 5],
       jsonb_build_object('user_id', t * 100 + 1 + n % (3 + t % 6), 'ms', t * n * 7 % 400),
       timestamptz '2025-04-01 00:00:00Z' + (t * 11 + n * 53) * interval '17 minutes'
  FROM unnest($1::bigint[]) AS t, generate_series(1, 10 + t * 5 % 21) AS n`,
]
