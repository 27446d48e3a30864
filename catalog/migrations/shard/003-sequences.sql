-- serial, identity and nextval() defaults stay unique over all shards: a shard's sequences step by 1,024
-- from its own ordinal. Called in the transaction of every DDL statement, after it.

-- The shard that this database is; one row, written by init.
CREATE TABLE ringfence.local_shard (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    cluster uuid NOT NULL,
    id text NOT NULL,
    ordinal integer NOT NULL CHECK (ordinal BETWEEN 0 AND 1023)
);
GRANT SELECT ON ringfence.local_shard TO PUBLIC;

-- Tables of which this shard holds a part: those that have the key column, unless `other_tables` names them, and
-- `keyed_tables`; partitions and children are what their topmost parent is. Names are `schema.name` or `name`.
CREATE FUNCTION ringfence.sharded_tables(key_column text, keyed_tables text[], other_tables text[])
    RETURNS SETOF oid
    LANGUAGE sql STABLE
    BEGIN ATOMIC
        WITH RECURSIVE root AS (
            SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name
            FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
              AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'ringfence')
              AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)
        ), sharded AS (
            SELECT r.oid
            FROM root r
            WHERE ARRAY[r.name, r.schema || '.' || r.name] && keyed_tables
               OR (NOT ARRAY[r.name, r.schema || '.' || r.name] && other_tables
                   AND EXISTS (SELECT FROM pg_attribute a
                               WHERE a.attrelid = r.oid AND a.attname = key_column
                                 AND a.attnum > 0 AND NOT a.attisdropped))
            UNION
            SELECT i.inhrelid
            FROM sharded s
            JOIN pg_inherits i ON i.inhparent = s.oid
        )
        SELECT s.oid FROM sharded s;
    END;

-- Makes the sequences behind their columns step by 1,024; gives the number that it changed. Idempotent.
-- A default that names its sequence by text alone (not regclass) has no dependency and is not found.
CREATE FUNCTION ringfence.stride_sequences(ordinal integer, key_column text, keyed_tables text[], other_tables text[])
    RETURNS integer
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    stride CONSTANT bigint := 1024;
    changed integer := 0;
    found_one record;
    direction integer;
    used record;
    next_value bigint;
    first_value bigint;
BEGIN
    IF ordinal NOT BETWEEN 0 AND 1023 THEN
        RAISE EXCEPTION 'shard ordinal % is not between 0 and 1023', ordinal
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR found_one IN
        WITH feeding AS (
            -- serial owns its sequence, an identity column has it inside
            SELECT d.objid AS sequence, d.refobjid AS relation
            FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
              AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
            UNION
            -- DEFAULT nextval('…'), also of a sequence that belongs to nobody or to another table
            SELECT d.refobjid, a.adrelid
            FROM pg_depend d
            JOIN pg_attrdef a ON a.oid = d.objid
            WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
        )
        SELECT DISTINCT s.seqrelid::regclass AS sequence, s.seqincrement, s.seqstart
        FROM feeding f
        JOIN pg_sequence s ON s.seqrelid = f.sequence
        JOIN pg_class c ON c.oid = s.seqrelid AND c.relpersistence <> 't'
        WHERE f.relation IN (SELECT ringfence.sharded_tables(key_column, keyed_tables, other_tables))
          AND (abs(s.seqincrement) <> stride OR (s.seqstart - ordinal - 1) % stride <> 0)
    LOOP
        direction := sign(found_one.seqincrement);
        EXECUTE format('SELECT last_value, is_called FROM %s', found_one.sequence) INTO used;
        next_value := used.last_value + CASE WHEN used.is_called THEN direction ELSE 0 END;
        -- the nearest value, onwards, that this shard alone gives
        next_value := next_value + direction * ((stride + (direction * (ordinal + 1 - next_value)) % stride) % stride);
        first_value := found_one.seqstart
            + direction * ((stride + (direction * (ordinal + 1 - found_one.seqstart)) % stride) % stride);
        EXECUTE format('ALTER SEQUENCE %s INCREMENT BY %s START WITH %s RESTART WITH %s',
            found_one.sequence, direction * stride, first_value, next_value);
        changed := changed + 1;
    END LOOP;
    RETURN changed;
END
$$;
