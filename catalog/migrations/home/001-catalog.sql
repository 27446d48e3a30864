-- The catalog on the home shard: which shard serves which virtual node, at which epoch.
-- Every change is a compare-and-set on topology.epoch, followed by NOTIFY ringfence_topology.

CREATE TABLE ringfence.topology (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    cluster uuid NOT NULL DEFAULT gen_random_uuid(),
    epoch bigint NOT NULL CHECK (epoch > 0),
    vnode_bits smallint NOT NULL CHECK (vnode_bits BETWEEN 0 AND 16),
    key_type text NOT NULL CHECK (key_type IN ('bigint', 'text', 'uuid')),
    next_ordinal integer NOT NULL
);
COMMENT ON TABLE ringfence.topology IS 'version of the topology, and what can never change';

-- Sequences on a shard step by 1,024 from its ordinal, and rows outlive the shard that numbered them: an ordinal
-- is given away once (topology.next_ordinal).
CREATE TABLE ringfence.shard (
    id text PRIMARY KEY,
    ordinal integer NOT NULL UNIQUE CHECK (ordinal BETWEEN 0 AND 1023),
    weight double precision NOT NULL CHECK (weight >= 0)
);
COMMENT ON TABLE ringfence.shard IS 'shards of the configuration; ordinal 0 is the home shard';

CREATE TABLE ringfence.vnode (
    vnode integer PRIMARY KEY CHECK (vnode BETWEEN 0 AND 65535),
    shard text NOT NULL REFERENCES ringfence.shard (id),
    move_id bigint
);
CREATE INDEX vnode_shard ON ringfence.vnode (shard);
COMMENT ON TABLE ringfence.vnode IS 'owner of every virtual node';

CREATE TABLE ringfence.pin (
    key text PRIMARY KEY,
    shard text NOT NULL REFERENCES ringfence.shard (id)
);
COMMENT ON TABLE ringfence.pin IS 'keys that live on a shard of their own, looked at before their virtual node';

-- Proxies read the catalog under whatever role they log in with; only the role that ran init changes it.
GRANT SELECT ON ringfence.topology, ringfence.shard, ringfence.vnode, ringfence.pin TO PUBLIC;
