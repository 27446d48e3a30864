-- Virtual nodes and keys on their way between shards, and the proxies that have to know (docs/moving-vnodes.md).
-- Only the role that ran init, under which proxies keep the catalog, writes here.

-- joining: proxies hold what goes to every shard until it has schema and reference tables; draining: gives all away.
ALTER TABLE ringfence.shard
    ADD COLUMN state text NOT NULL DEFAULT 'active' CHECK (state IN ('joining', 'active', 'draining'));

CREATE TABLE ringfence.move (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vnodes integer[] NOT NULL,
    keys text[] NOT NULL,
    -- pinned keys of these virtual nodes: they stay where they are
    except_keys text[] NOT NULL,
    from_shard text NOT NULL,
    to_shard text NOT NULL,
    state text NOT NULL DEFAULT 'planned' CHECK (state IN (
        'planned', 'preparing', 'copying', 'catching_up', 'verifying', 'fencing', 'unfencing', 'switched',
        'rolling_back', 'unfencing_back', 'completing', 'aborting', 'done', 'aborted')),
    -- what an operator wants that the runner has not done yet
    wish text CHECK (wish IN ('pause', 'abort', 'rollback', 'complete')),
    options jsonb NOT NULL DEFAULT '{}',
    progress jsonb NOT NULL DEFAULT '{}',
    error text,
    hint text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    CHECK (from_shard <> to_shard),
    CHECK (cardinality(vnodes) + cardinality(keys) > 0)
);
COMMENT ON TABLE ringfence.move IS 'moves of virtual nodes and keys; a state is changed together with the epoch';
CREATE INDEX move_active ON ringfence.move (id) WHERE state NOT IN ('done', 'aborted');

CREATE TABLE ringfence.proxy (
    id text PRIMARY KEY,
    -- of the process: a restarted proxy is another one
    incarnation uuid NOT NULL,
    address text NOT NULL,
    version text NOT NULL,
    -- nothing that the proxy still runs was routed by an older topology
    epoch_seen bigint NOT NULL DEFAULT 0,
    heartbeat timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE ringfence.proxy IS 'proxies that route by this catalog; a move waits for all of them';

-- Replicas are read only from here on, as far as the shard's rows were moved.
CREATE TABLE ringfence.read_floor (
    shard text PRIMARY KEY,
    system_id text NOT NULL,
    timeline integer NOT NULL,
    lsn pg_lsn NOT NULL
);
COMMENT ON TABLE ringfence.read_floor IS 'position that a replica must have reached before it is read: it has then what was moved';

CREATE TABLE ringfence.topology_history (
    epoch bigint PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    what text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE ringfence.topology_history IS 'what each epoch changed';

GRANT SELECT ON ringfence.move, ringfence.proxy, ringfence.read_floor, ringfence.topology_history TO PUBLIC;
