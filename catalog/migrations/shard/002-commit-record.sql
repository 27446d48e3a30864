-- Two-phase commit: the decider's record is the decision (docs/architecture.md). Recovery alone writes 'abort'
-- and removes rows; a client's role may only decide its own transaction, through ringfence.decide_commit.

CREATE TABLE ringfence.commit_record (
    id text PRIMARY KEY,
    decided text NOT NULL CHECK (decided IN ('commit', 'abort')),
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE ringfence.commit_record IS 'decisions of two-phase transactions; abort is a tombstone that keeps a late decider from committing';

-- A decision that other shards act on must survive a crash of this one, whatever the client chose for itself.
CREATE FUNCTION ringfence.decide_commit(id text) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER
    BEGIN ATOMIC
        SELECT CASE current_setting('synchronous_commit')
            WHEN 'off' THEN set_config('synchronous_commit', 'on', true)
        END;
        INSERT INTO ringfence.commit_record (id, decided) VALUES (decide_commit.id, 'commit');
    END;
