-- Tables that carry tenant_id are sharded by it; products is a reference table; settings is a home table.
CREATE TABLE tenants (
  tenant_id bigint PRIMARY KEY,
  name text NOT NULL,
  plan text NOT NULL DEFAULT 'free',
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE products (
  id integer PRIMARY KEY,
  name text NOT NULL UNIQUE,
  price numeric(12, 2) NOT NULL,
  sku uuid NOT NULL DEFAULT gen_random_uuid()
);
CREATE TABLE users (
  tenant_id bigint NOT NULL REFERENCES tenants (tenant_id),
  id integer NOT NULL,
  email text NOT NULL,
  name text,
  PRIMARY KEY (tenant_id, id),
  CONSTRAINT users_email_unique UNIQUE (tenant_id, email)
);
CREATE TABLE orders (
  tenant_id bigint NOT NULL,
  id bigserial NOT NULL,
  user_id integer NOT NULL,
  product_id integer NOT NULL REFERENCES products (id),
  quantity integer NOT NULL CONSTRAINT orders_quantity_positive CHECK (quantity > 0),
  note text,
  PRIMARY KEY (tenant_id, id),
  CONSTRAINT orders_user_fk FOREIGN KEY (tenant_id, user_id)
    REFERENCES users (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX orders_by_user ON orders (tenant_id, user_id);
CREATE TABLE samples (
  tenant_id bigint NOT NULL,
  id integer NOT NULL,
  small smallint,
  whole integer,
  big bigint,
  ratio double precision,
  amount numeric(20, 6),
  label text,
  code varchar(20),
  flag boolean,
  at timestamptz,
  day date,
  token uuid,
  doc jsonb,
  words text[],
  numbers integer[],
  bytes bytea,
  PRIMARY KEY (tenant_id, id)
);
CREATE TABLE settings (
  name text PRIMARY KEY,
  value jsonb NOT NULL
);
