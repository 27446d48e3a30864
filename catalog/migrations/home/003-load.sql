-- Measured load per virtual node and of the hottest keys, from all proxies together: sums that halve in a given time
-- (catalog/load-store.ts). Only the role that ran init, under which proxies keep the catalog, reads or writes here:
-- a client that could write would decide where data goes, and keys are not everybody's to read.

-- Rows change every few seconds: room on each page for the next versions keeps indexes and vacuum out of it.
CREATE TABLE ringfence.vnode_load (
    vnode integer PRIMARY KEY CHECK (vnode BETWEEN 0 AND 65535),
    statements double precision NOT NULL,
    server_ms double precision NOT NULL,
    bytes double precision NOT NULL,
    rows double precision NOT NULL,
    at timestamptz NOT NULL
) WITH (fillfactor = 40);
COMMENT ON TABLE ringfence.vnode_load IS 'decayed sums of statements, server time, bytes to clients and rows, as of "at"';

CREATE TABLE ringfence.key_load (
    key text COLLATE "C" PRIMARY KEY,
    vnode integer NOT NULL,
    server_ms double precision NOT NULL,
    statements double precision NOT NULL,
    at timestamptz NOT NULL
) WITH (fillfactor = 40);
COMMENT ON TABLE ringfence.key_load IS 'the same of the hottest keys, as every proxy has estimated them';
