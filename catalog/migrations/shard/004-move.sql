-- What a move needs on a shard (docs/moving-vnodes.md).

-- Up to where a stream of changes has been applied here; written in the transactions that apply them.
CREATE TABLE ringfence.move_progress (
    move_id bigint NOT NULL,
    direction text NOT NULL CHECK (direction IN ('forward', 'reverse')),
    lsn pg_lsn NOT NULL,
    PRIMARY KEY (move_id, direction)
);
COMMENT ON TABLE ringfence.move_progress IS 'position of the other shard up to which its changes are applied here';

-- The fence: once a trigger with this function is there, no writer whatever its proxy believes changes a moved row here.
-- Retryable as it stands; the constraint's name tells a proxy that its topology is old.
--
-- What another trigger does passes: ON DELETE CASCADE or SET NULL of a foreign key to a reference
-- table. Such a table is written on all shards in one two-phase transaction, never while a move is
-- fenced, so after the switch only: the rows met here are hidden ones then, and their owner's own
-- foreign key does the same to the rows that count. Were it rejected, nobody could delete such a
-- row until the move is completed.
CREATE FUNCTION ringfence.reject_fenced() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pg_trigger_depth() > 1 THEN
        IF TG_OP = 'DELETE' THEN
            RETURN OLD;
        END IF;
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'row of "%" has moved to another shard, or is about to', TG_TABLE_NAME
        USING ERRCODE = 'serialization_failure', CONSTRAINT = 'ringfence_fence',
              HINT = 'Retry the transaction through the proxy.';
END
$$;
GRANT EXECUTE ON FUNCTION ringfence.reject_fenced() TO PUBLIC;
