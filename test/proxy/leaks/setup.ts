// What the leak checker finds in its databases, and how it asks a session for all that SQL tells of it.
import { type Command, query } from './command.ts'

/** Asks for everything of a session that SQL can tell. */
export const probe: Command = query(
  'probe',
  `SELECT pg_catalog.current_setting('application_name'), pg_catalog.current_setting('work_mem'),
    pg_catalog.current_setting('statement_timeout'), pg_catalog.current_setting('DateStyle'),
    pg_catalog.current_setting('TimeZone'), pg_catalog.current_setting('search_path'),
    nullif(pg_catalog.current_setting('app.a', true), ''), nullif(pg_catalog.current_setting('app.b', true), ''),
    nullif(pg_catalog.current_setting('app.c', true), ''), pg_catalog.current_setting('IntervalStyle'),
    pg_catalog.current_setting('transaction_isolation'), pg_catalog.current_setting('default_transaction_isolation'),
    pg_catalog.current_setting('role'), session_user, current_user,
    (SELECT pg_catalog.string_agg(objid::text || mode, ' ' ORDER BY objid, mode) FROM pg_catalog.pg_locks
      WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()) AS locks,
    (SELECT pg_catalog.string_agg(relname::text, ' ' ORDER BY relname) FROM pg_catalog.pg_class
      WHERE relnamespace = pg_catalog.pg_my_temp_schema() AND relkind = 'r') AS tables,
    (SELECT pg_catalog.string_agg(name, ' ' ORDER BY name) FROM pg_catalog.pg_cursors WHERE is_holdable) AS cursors`,
)

/** True when a probe's answer shows something that only one server has. */
export function showsThings(told: string): boolean {
  return /Exclusive|Share|mine|held/.test(told)
}

/** What a client must see of itself and of nobody else, as a read that may share its server. */
export const ownReads: readonly [string, ...string[]] = [
  "SELECT current_setting('work_mem'), current_setting('application_name'), nullif(current_setting('app.b', true), '')",
  'SELECT name FROM thing',
  "SELECT current_setting('DateStyle'), current_setting('TimeZone'), name FROM thing",
  "SELECT '1/2/2026'::date, nullif(current_setting('app.a', true), '')",
]

/** Functions that are called by number. */
export const calledFunctions: readonly string[] = [
  'set_config',
  'pg_advisory_unlock_all',
  'remember',
  'remember_here',
  'sets_memory',
  'locks',
  'unlocks',
  'raises',
]

/** What the steps find in their databases; all of it is idempotent where it stands alone. */
export const setupSql = `
CREATE SCHEMA other;
CREATE TABLE thing AS SELECT 'of public' AS name;
CREATE TABLE other.thing AS SELECT 'of other' AS name;
CREATE TABLE notes (at date);
CREATE SEQUENCE numbers;
CREATE TABLE watched (value text);
CREATE VIEW watching AS SELECT value FROM watched;
CREATE TABLE kept (client int, value text);
CREATE FUNCTION remember(value text) RETURNS text LANGUAGE sql AS
  $$ SELECT set_config('app.b', value, false) $$;
CREATE FUNCTION remember_here(value text) RETURNS text LANGUAGE sql AS
  $$ SELECT set_config('app.b', value, true) $$;
CREATE FUNCTION sets_memory(megabytes int) RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN PERFORM set_config('work_mem', megabytes || 'MB', false); RETURN 'set'; END $$;
CREATE FUNCTION sets_style(style text) RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN PERFORM set_config('DateStyle', style, false); RETURN 'set'; END $$;
CREATE FUNCTION sets_intervals() RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN SET IntervalStyle = 'iso_8601'; RETURN 'set'; END $$;
CREATE FUNCTION sets_path(path text) RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN PERFORM set_config('search_path', path, false); RETURN 'set'; END $$;
CREATE FUNCTION resets() RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN RESET work_mem; RESET app.b; RETURN 'reset'; END $$;
CREATE FUNCTION raises(value text) RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN PERFORM set_config('app.b', value, false); RAISE 'not that'; END $$;
CREATE FUNCTION catches(value text) RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN
    PERFORM set_config('app.c', value, false);
    BEGIN PERFORM set_config('app.b', value, false); PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN NULL; END;
    RETURN 'caught'; END $$;
CREATE FUNCTION locks(key bigint) RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_advisory_lock(key); RETURN 'locked'; END $$;
CREATE FUNCTION unlocks(key bigint) RETURNS bool LANGUAGE plpgsql AS
  $$ BEGIN RETURN pg_advisory_unlock(key); END $$;
CREATE PROCEDURE runs(value text) LANGUAGE plpgsql AS
  $$ BEGIN PERFORM set_config('app.c', value, false); END $$;
CREATE PROCEDURE runs_and_commits(value text) LANGUAGE plpgsql AS
  $$ BEGIN
    PERFORM set_config('app.c', value, false); COMMIT;
    PERFORM set_config('app.b', value, false); ROLLBACK; END $$;
CREATE FUNCTION take_lock(key int) RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_advisory_lock(1000000); PERFORM pg_advisory_unlock(1000000); END $$;
CREATE FUNCTION on_watched() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM set_config('app.b', NEW.value, false); RETURN NEW; END $$;
CREATE TRIGGER on_watched BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION on_watched();
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA other TO PUBLIC;
GRANT USAGE ON SCHEMA other TO PUBLIC;
GRANT USAGE ON SEQUENCE numbers TO PUBLIC;
`
