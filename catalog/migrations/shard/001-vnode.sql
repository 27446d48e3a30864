-- Key → virtual node, the same arithmetic as router/key-hash.ts: the upper bits of the unsigned 64-bit hash.
-- Single expressions of strict functions, so that the planner inlines them; names are resolved here and now
-- (init's search_path is pg_catalog), not under the caller's search_path. Init fills in ${…}: the number of
-- bits is fixed for the life of a cluster.

CREATE FUNCTION ringfence.vnode(key bigint) RETURNS integer
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ((hashint8extended(key, 0) >> ${vnode_shift}) & ${vnode_mask})::integer;

CREATE FUNCTION ringfence.vnode(key integer) RETURNS integer
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ((hashint8extended(key::bigint, 0) >> ${vnode_shift}) & ${vnode_mask})::integer;

CREATE FUNCTION ringfence.vnode(key smallint) RETURNS integer
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ((hashint8extended(key::bigint, 0) >> ${vnode_shift}) & ${vnode_mask})::integer;

-- Under "C" whatever the column's collation: a hash of bytes is what the proxy computes.
CREATE FUNCTION ringfence.vnode(key text) RETURNS integer
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ((hashtextextended(key COLLATE "C", 0) >> ${vnode_shift}) & ${vnode_mask})::integer;

CREATE FUNCTION ringfence.vnode(key uuid) RETURNS integer
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ((uuid_hash_extended(key, 0) >> ${vnode_shift}) & ${vnode_mask})::integer;
