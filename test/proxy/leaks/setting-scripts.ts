// Scripts for two clients: settings, by whatever way they are made. Run beside plain PostgreSQL by session-state.test.ts.
import { lines, type Script } from './two-clients.ts'

/** What the scripts find in their database. */
export const setupSql = `
CREATE TABLE notes (id serial PRIMARY KEY, words text, at date DEFAULT '2026-01-02');
CREATE SEQUENCE numbers;
CREATE FUNCTION remember(value text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN PERFORM set_config('app.tenant', value, false); END $$;
CREATE FUNCTION remember_here(value text) RETURNS text LANGUAGE sql AS
  $$ SELECT set_config('app.tenant', value, true) $$;
CREATE FUNCTION indirectly(value text) RETURNS int LANGUAGE sql AS $$ SELECT remember(value); SELECT 1 $$;
CREATE FUNCTION take_lock() RETURNS void LANGUAGE sql AS $$ SELECT pg_advisory_lock(77) $$;
CREATE FUNCTION slow_work() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET work_mem = '9MB'; END $$;
CREATE FUNCTION make_temp() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CREATE TEMP TABLE made (n int); END $$;
CREATE FUNCTION any_setting(name text, value text) RETURNS text LANGUAGE sql AS
  $$ SELECT set_config(name, value, false) $$;
CREATE TABLE watched (id int);
CREATE FUNCTION on_watched() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM set_config('app.watched', NEW.id::text, false); RETURN NEW; END $$;
CREATE TRIGGER on_watched BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION on_watched();
CREATE VIEW with_lock AS SELECT take_lock()::text AS taken;
`

/** By what they are about. */
export const settingScripts: Readonly<Record<string, Script>> = {
  'SET and RESET': lines(String.raw`
    a: SET work_mem = '3MB'
    b: SHOW work_mem
    a: SHOW work_mem
    b: SET work_mem TO '5MB'
    a: SHOW work_mem
    a: RESET work_mem
    a: SHOW work_mem
    b: SHOW work_mem
    b: SET work_mem TO DEFAULT
    b: SHOW work_mem
  `),
  'SET in a transaction that is rolled back': lines(String.raw`
    a: BEGIN
    a: SET work_mem = '3MB'
    a: SAVEPOINT s
    a: SET work_mem = '4MB'
    a: ROLLBACK TO s
    a: SHOW work_mem
    a: ROLLBACK
    b: SHOW work_mem
    a: SHOW work_mem
    a: BEGIN
    a: SET work_mem = '3MB'
    a: SELECT 1/0
    a: COMMIT
    a: SHOW work_mem
  `),
  'SET LOCAL, inside and outside of a transaction': lines(String.raw`
    a: SET LOCAL work_mem = '3MB'
    a: SHOW work_mem
    a: BEGIN
    a: SET LOCAL work_mem = '3MB'
    a: SHOW work_mem
    a: COMMIT
    a: SHOW work_mem
    b: SHOW work_mem
  `),
  'SET SESSION CHARACTERISTICS': lines(String.raw`
    a: SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE
    b: SHOW transaction_isolation
    a: SHOW transaction_isolation
    a: SHOW transaction_read_only
    a: SHOW default_transaction_deferrable
    a: INSERT INTO notes (words) VALUES (1)
    a: SET default_transaction_read_only = off
    a: SHOW transaction_isolation
    a: SHOW transaction_read_only
    b: SHOW default_transaction_isolation
  `),
  'custom settings': lines(String.raw`
    a: SET app.tenant = 'one'
    b: SELECT current_setting('app.tenant', true) IS NULL OR current_setting('app.tenant', true) = ''
    a: SELECT current_setting('app.tenant')
    b: SET app.tenant = 'two'
    a: SHOW app.tenant
  `),
  'set_config() in the middle of statements': lines(String.raw`
    a: WITH x AS (SELECT set_config('app.tenant', 'cte', false) AS v) SELECT v FROM x
    b: SELECT current_setting('app.tenant', true) IS NOT DISTINCT FROM 'cte'
    a: SELECT current_setting('app.tenant')
    a: SELECT 1 WHERE set_config('work_mem', '6MB', false) = '6MB'
    b: SHOW work_mem
    a: SHOW work_mem
    a: INSERT INTO notes (words) SELECT set_config('app.other', 'x', false) RETURNING words
    b: SELECT current_setting('app.other', true) IS NOT DISTINCT FROM 'x'
    a: SELECT current_setting('app.other')
    a: SELECT set_config('app.tenant', 'p', false), set_config('work_mem', '7MB', true)
    a: SHOW work_mem
    a: SELECT set_config($1, $2, $3) ⟵ app.tenant, byparam, false
    b: SELECT 1
    a: SHOW app.tenant
    a: SELECT set_config($1, $2, $3) ⟵ app.tenant, local, true
    a: SHOW app.tenant
  `),
  'set_config() in functions, triggers and DO': lines(String.raw`
    a: SELECT remember('fn')
    b: SELECT current_setting('app.tenant', true) IS NOT DISTINCT FROM 'fn'
    a: SHOW app.tenant
    a: SELECT indirectly('deep')
    b: SELECT 1
    a: SHOW app.tenant
    a: SELECT remember_here('local')
    a: SHOW app.tenant
    a: INSERT INTO watched VALUES (5)
    b: SELECT current_setting('app.watched', true) IS NOT DISTINCT FROM '5'
    a: SHOW app.watched
    a: SELECT slow_work()
    b: SHOW work_mem
    a: SHOW work_mem
    a: DO $$ BEGIN PERFORM set_config('app.done', 'yes', false); SET search_path = pg_catalog; END $$
    b: SHOW search_path
    b: SELECT current_setting('app.done', true) IS NOT DISTINCT FROM 'yes'
    a: SHOW search_path
    a: SHOW app.done
    a: BEGIN
    a: SELECT public.remember('tx')
    a: ROLLBACK
    b: SELECT 1
    a: SHOW app.tenant
  `),
  'RESET ALL and DISCARD ALL': lines(String.raw`
    a: SET work_mem = '3MB'
    a: SET app.tenant = 'one'
    b: SET work_mem = '4MB'
    a: RESET ALL
    a: SHOW work_mem
    b: SHOW work_mem
    a: SET work_mem = '3MB'
    a: DISCARD ALL
    a: SHOW work_mem
    b: SHOW work_mem
    a: DISCARD PLANS
    a: DISCARD SEQUENCES
    a: DISCARD TEMP
    a: BEGIN
    a: DISCARD ALL
    a: ROLLBACK
  `),
  'SET ROLE': lines(String.raw`
    a: SET ROLE leaks_role
    a: SELECT current_user, session_user = current_user
    b: SELECT current_user = session_user
    a: SET app.tenant = 'x'
    a: SELECT current_user
    b: SHOW role
    a: SHOW role
    a: RESET ALL
    a: SHOW role
    a: SET ROLE NONE
    a: SHOW role
    a: SET ROLE leaks_role
    b: SELECT 1
    a: RESET ROLE
    a: SHOW role
    a: SET ROLE nobody_at_all
    a: BEGIN
    a: SET ROLE leaks_role
    a: ROLLBACK
    b: SELECT 1
    a: SHOW role
    a: SET ROLE leaks_role
    b: SELECT 1
    a: DISCARD ALL
    a: SHOW role
    a: SELECT set_config('role', 'leaks_role', false)
    b: SHOW role
    a: SHOW role
  `),
  'SET SESSION AUTHORIZATION': lines(String.raw`
    a: SET ROLE leaks_role
    a: SET SESSION AUTHORIZATION leaks_role
    a: SHOW role
    a: SELECT session_user, current_user
    b: SELECT session_user = 'leaks_role'
    a: SELECT session_user
    a: RESET SESSION AUTHORIZATION
    a: SELECT session_user = 'leaks_role'
    a: SHOW role
    a: SET SESSION AUTHORIZATION leaks_role
    b: SELECT 1
    a: SET SESSION AUTHORIZATION DEFAULT
    b: SELECT 1
    a: SELECT session_user = 'leaks_role'
  `),
  'what views, defaults and policies set by themselves': lines(String.raw`
    a: CREATE VIEW sets AS SELECT set_config('work_mem', '7MB', false) AS was
    a: SELECT * FROM sets
    b: SHOW work_mem
    a: SHOW work_mem
    a: DISCARD ALL
    a: CREATE TABLE setting (n int, was text DEFAULT set_config('work_mem', '8MB', false))
    a: INSERT INTO setting VALUES (1)
    b: SHOW work_mem
    a: SHOW work_mem
    a: DISCARD ALL
    a: DROP TABLE setting
    a: DROP VIEW sets
  `),
  'settings whose names a trigger makes up': lines(String.raw`
    a: CREATE TABLE naming (name text)
    a: CREATE FUNCTION names() RETURNS trigger AS 'BEGIN PERFORM set_config($$mine.$$ || NEW.name, $$1$$, false); RETURN NEW; END' LANGUAGE plpgsql
    a: CREATE TRIGGER names BEFORE INSERT ON naming FOR EACH ROW EXECUTE FUNCTION names()
    a: INSERT INTO naming (name) VALUES ('own')
    b: SELECT current_setting('mine.own', true)
    a: SELECT current_setting('mine.own', true)
    a: DISCARD ALL
    a: DROP TABLE naming
    a: DROP FUNCTION names()
  `),
  'what runs known code, and is defined later': lines(String.raw`
    a: CREATE FUNCTION sets_it() RETURNS text LANGUAGE sql AS $$ SELECT set_config('work_mem', '9MB', false) $$
    a: SELECT sets_it()
    b: SHOW work_mem
    a: DISCARD ALL
    a: CREATE TABLE unlike (n int)
    a: CREATE VIEW "Seen ""later""" AS SELECT "sets_it"() AS was
    a: SELECT * FROM "Seen ""later"""
    b: SHOW work_mem
    a: SHOW work_mem
    a: DISCARD ALL
    a: BEGIN
    a: CREATE VIEW again AS SELECT * FROM "Seen ""later"""
    a: SELECT * FROM again
    a: COMMIT
    b: SHOW work_mem
    b: SELECT * FROM again
    a: DISCARD ALL
    b: SHOW work_mem
    a: SHOW work_mem
    b: DISCARD ALL
    a: DROP TABLE unlike
    a: DROP VIEW again
    a: DROP VIEW "Seen ""later"""
    a: DROP FUNCTION sets_it()
  `),
  'a PREPARE whose table is gone': lines(String.raw`
    a: CREATE TABLE going (n int)
    a: SET DateStyle = 'SQL, DMY'
    a: PREPARE late AS SELECT n, '01/02/2000'::date FROM going
    a: SET DateStyle = 'ISO, MDY'
    a: DROP TABLE going
    a: EXECUTE late
    a: SHOW DateStyle
    b: SHOW DateStyle
    a: DEALLOCATE ALL
  `),
}
