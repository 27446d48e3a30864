// The tables of the run and what stands in them at its beginning. Each is there for something that a move has to get
// right: foreign keys, partitions, values out of line that an UPDATE does not touch, a primary key without the shard
// key, a reference table.

/** Tenants have numbers from 1; keys of every virtual node are as likely as those of any other. */
export const tenants = 300
export const accountsPerTenant = 4
export const openingBalance = 1_000
export const prices = 8
/** Of each tenant: entries of client 0, which nobody ever changes. */
export const openingEntries = 100

export const ddl = `
CREATE TABLE account (
  tenant_id bigint, id int, balance bigint NOT NULL, PRIMARY KEY (tenant_id, id));
CREATE TABLE transfer (
  tenant_id bigint, id uuid, source int NOT NULL, target int NOT NULL, amount int NOT NULL,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, source) REFERENCES account, FOREIGN KEY (tenant_id, target) REFERENCES account);
CREATE TABLE list (
  tenant_id bigint, id int, items bigint[] NOT NULL, note text NOT NULL, PRIMARY KEY (tenant_id, id));
ALTER TABLE list ALTER note SET STORAGE EXTERNAL;
CREATE TABLE entry (
  tenant_id bigint, client int, seq bigint, body text NOT NULL, PRIMARY KEY (tenant_id, client, seq))
  PARTITION BY HASH (client);
CREATE TABLE entry_even PARTITION OF entry FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE entry_odd PARTITION OF entry FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE INDEX ON entry (client, seq);
CREATE TABLE token (id uuid PRIMARY KEY, tenant_id bigint NOT NULL, state int NOT NULL);
CREATE TABLE price (id int PRIMARY KEY, cents bigint NOT NULL);
INSERT INTO price SELECT g, 0 FROM generate_series(1, ${prices}) g`

/** Rows of the first day; every shard is given all of them, and `withoutStrangers` takes those that are not its own. */
export const openingRows = `
INSERT INTO account
  SELECT t, a, ${openingBalance} FROM generate_series(1, ${tenants}) t, generate_series(1, ${accountsPerTenant}) a;
INSERT INTO entry
  SELECT t, 0, g, repeat(md5(t::text || g), 3)
  FROM generate_series(1, ${tenants}) t, generate_series(1, ${openingEntries}) g`

/** `owned`: virtual nodes of the shard. */
export function withoutStrangers(owned: readonly number[]): string {
  const list = `'{${owned.join(',')}}'::int[]`
  return ['account', 'entry']
    .map((table) => `DELETE FROM ${table} WHERE ringfence.vnode(tenant_id) <> ALL (${list})`)
    .join(';')
}
