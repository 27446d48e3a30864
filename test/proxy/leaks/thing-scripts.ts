// Scripts for two clients: temporary tables, locks, cursors, prepared statements, channels. Run beside plain PostgreSQL by session-state.test.ts.
import { lines, type Script } from './two-clients.ts'

/** By what they are about. */
export const thingScripts: Readonly<Record<string, Script>> = {
  'temporary tables': lines(String.raw`
    a: CREATE TEMP TABLE mine (n int)
    a: INSERT INTO mine VALUES (1)
    a: SELECT * FROM mine
    a: DROP TABLE mine
    b: SELECT * FROM mine
    a: SELECT 1 AS n INTO TEMP mine
    a: SELECT * FROM mine
    a: DISCARD TEMP
    b: SELECT 1
    a: SELECT * FROM mine
    a: BEGIN
    a: CREATE TEMP TABLE gone (n int) ON COMMIT DROP
    a: SELECT count(*) FROM gone
    a: COMMIT
    b: SELECT 1
    a: SELECT * FROM gone
    a: CREATE TABLE pg_temp.t2 (n int)
    a: SELECT * FROM t2
    a: DISCARD ALL
    b: SELECT 1
    a: CREATE TEMP VIEW v AS SELECT 1 AS one
    a: SELECT * FROM v
    a: DROP VIEW v
    b: SELECT 1
    a: CREATE TEMP SEQUENCE ts
    a: SELECT nextval('ts')
    a: DROP SEQUENCE ts
    b: SELECT 1
    a: BEGIN
    a: CREATE TEMP TABLE undone (n int)
    a: ROLLBACK
    b: SELECT 1
    a: SELECT * FROM undone
    a: SELECT make_temp()
    a: SELECT * FROM made
    a: DROP TABLE made
    b: SELECT 1
    a: CREATE FUNCTION pg_temp.one() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$
    a: SELECT pg_temp.one()
    a: DISCARD ALL
    a: SET search_path = pg_temp, public
    a: CREATE TABLE hidden (n int)
    a: SELECT * FROM hidden
    a: DISCARD ALL
    b: SELECT * FROM hidden
  `),
  'advisory locks': lines(String.raw`
    a: SELECT pg_advisory_lock(1)
    a: SELECT pg_advisory_unlock(1)
    b: SELECT pg_try_advisory_lock(1)
    b: SELECT pg_advisory_unlock(1)
    b: SELECT pg_advisory_unlock(1)
    a: SELECT pg_advisory_lock(1), pg_advisory_lock_shared(2)
    a: SELECT pg_advisory_unlock_all()
    b: SELECT 1
    a: SELECT pg_advisory_lock(3), 1/0
    a: SELECT pg_advisory_unlock(3)
    b: SELECT pg_try_advisory_lock(3)
    b: SELECT pg_advisory_unlock(3)
    a: BEGIN
    a: SELECT pg_advisory_xact_lock(4)
    a: COMMIT
    b: SELECT pg_try_advisory_xact_lock(4)
    a: SELECT take_lock()
    a: SELECT pg_advisory_unlock(77)
    b: SELECT 1
    a: SELECT * FROM with_lock
    a: SELECT pg_advisory_unlock(77)
    b: SELECT 1
    a: BEGIN
    a: SELECT pg_advisory_lock(5)
    a: ROLLBACK
    a: SELECT pg_advisory_unlock(5)
    b: SELECT 1
  `),
  cursors: lines(String.raw`
    a: DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 3)
    a: FETCH 1 FROM c
    a: FETCH 1 FROM c
    a: CLOSE c
    b: FETCH 1 FROM c
    a: FETCH 1 FROM c
    a: BEGIN
    a: DECLARE c CURSOR FOR SELECT 1
    a: FETCH ALL FROM c
    a: COMMIT
    b: SELECT 1
    a: FETCH 1 FROM c
    a: DECLARE c CURSOR FOR SELECT 1
    a: BEGIN
    a: DECLARE d CURSOR WITH HOLD FOR SELECT 2
    a: COMMIT
    a: FETCH 1 FROM d
    a: CLOSE ALL
    b: SELECT 1
  `),
  'PREPARE, EXECUTE, DEALLOCATE': lines(String.raw`
    a: PREPARE p AS SELECT 1 AS one
    b: EXECUTE p
    a: EXECUTE p
    b: PREPARE p (int, text) AS SELECT $1 + 1, $2
    b: EXECUTE p(4, 'x')
    a: EXECUTE p
    a: PREPARE p AS SELECT 2
    a: EXECUTE p(1)
    b: EXECUTE p
    b: EXECUTE p('a', 'b')
    b: EXECUTE nothing
    a: PREPARE bad AS SELECT nothing FROM notes
    a: PREPARE bad AS SELECT $1
    a: PREPARE bad (nosuchtype) AS SELECT $1
    a: EXECUTE bad
    a: DEALLOCATE p
    a: EXECUTE p
    a: DEALLOCATE p
    b: EXECUTE p(1 + 1, 'y' || 'z')
    b: EXPLAIN (COSTS OFF) EXECUTE p(1, 'x')
    b: /* EXECUTE p */ EXECUTE /* p */ p (nothing, 'x')
    b: DEALLOCATE ALL
    b: EXECUTE p(1, 'x')
    a: PREPARE "Odd Name" AS SELECT 'odd'
    b: SELECT 1
    a: EXECUTE "Odd Name"
    a: BEGIN
    a: PREPARE q AS INSERT INTO notes (words) VALUES ($1) RETURNING words
    a: EXECUTE q('w')
    a: ROLLBACK
    b: SELECT 1
    a: EXECUTE q('w2')
    b: SELECT 1
    a: PREPARE r AS SELECT 1; EXECUTE r; EXECUTE r
    b: SELECT 1
    a: CREATE TABLE from_p AS EXECUTE "Odd Name"
    a: DROP TABLE from_p
    a: PREPARE t (numeric(10,2), int[]) AS SELECT $1, $2[1]
    a: EXECUTE t(1.239, '{7}')
    a: DISCARD ALL
    a: EXECUTE t(1, NULL)
    a: PREPARE s AS SELECT * FROM notes WHERE id < 0
    a: EXECUTE s
    a: ALTER TABLE notes ADD COLUMN extra int
    b: SELECT 1
    a: BEGIN
    a: SELECT 1/0
    a: EXECUTE s
    a: PREPARE z AS SELECT 1
    a: ROLLBACK
    a: EXECUTE z
    a: ALTER TABLE notes DROP COLUMN extra
  `),
  'what a prepared statement means': lines(String.raw`
    a: SET DateStyle = 'ISO, DMY'
    a: PREPARE d AS SELECT '01/02/2026'::date
    b: PREPARE d AS SELECT '01/02/2026'::date
    a: EXECUTE d
    b: EXECUTE d
    a: SET DateStyle = 'ISO, YMD'
    a: EXECUTE d
    b: SELECT 1
    a: EXECUTE d
    b: EXECUTE d
    b: SET TimeZone = 'Asia/Tokyo'
    b: PREPARE z AS SELECT '2026-01-01'::timestamptz
    a: PREPARE z AS SELECT '2026-01-01'::timestamptz
    b: EXECUTE z
    a: EXECUTE z
    b: EXECUTE z
    a: CREATE SCHEMA one
    a: CREATE SCHEMA two
    a: CREATE TABLE one.t AS SELECT 1 AS n
    a: CREATE TABLE two.t AS SELECT 2 AS n
    a: SET search_path = one
    a: PREPARE st AS SELECT n FROM t
    a: EXECUTE st
    b: SET search_path = two
    b: PREPARE st AS SELECT n FROM t
    b: EXECUTE st
    a: EXECUTE st
    a: SET search_path = two
    a: EXECUTE st
    a: DROP SCHEMA one, two CASCADE
    a: SET standard_conforming_strings = off
    a: SET escape_string_warning = off
    a: PREPARE esc AS SELECT 'a\\b'
    b: PREPARE esc AS SELECT 'a\\b'
    a: EXECUTE esc
    b: EXECUTE esc
  `),
  'LISTEN by code': lines(String.raw`
    a: CREATE FUNCTION listens(channel text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE format('LISTEN %I', channel); END $$
    a: SELECT listens('f1')
    b: NOTIFY f1, '1'
    a: SELECT listens('f2')
    b: NOTIFY f2, '2'
    a: SELECT 1
    a: SELECT pg_listening_channels()
    a: CREATE TEMP TABLE of_mine (n int)
    a: UNLISTEN f1
    b: NOTIFY f1, '3'
    a: SELECT pg_listening_channels()
    a: UNLISTEN *
    b: NOTIFY f2, '4'
    a: SELECT pg_listening_channels()
    a: DROP FUNCTION listens
    a: DISCARD ALL
  `),
  'LISTEN in savepoints, under odd names': lines(String.raw`
    a: LISTEN kept
    a: BEGIN
    a: SAVEPOINT p
    a: UNLISTEN *
    a: SAVEPOINT p
    a: LISTEN undone
    a: ROLLBACK TO p
    a: RELEASE p
    a: ROLLBACK TO p
    a: LISTEN "we""ird ÄÖ 😀"
    a: LISTEN U&"d1ta"
    a: LISTEN ${'x'.repeat(70)}
    a: COMMIT
    a: SELECT pg_listening_channels()
    b: NOTIFY kept, '1'
    b: NOTIFY undone, '2'
    b: NOTIFY "we""ird ÄÖ 😀", '3'
    b: NOTIFY data, '4'
    b: NOTIFY ${'x'.repeat(64)}, '5'
    a: UNLISTEN *
  `),
  'LISTEN and NOTIFY': lines(String.raw`
    a: LISTEN one
    a: SELECT pg_listening_channels()
    b: SELECT pg_listening_channels()
    b: NOTIFY one, 'x'
    a: SELECT 1
    a: NOTIFY one, 'self'
    a: SELECT 2
    b: BEGIN
    b: NOTIFY one, 'late'
    a: SELECT 3
    b: COMMIT
    a: SELECT 4
    b: BEGIN
    b: NOTIFY one, 'never'
    b: ROLLBACK
    a: SELECT 5
    a: BEGIN
    b: NOTIFY one, 'while'
    a: SELECT 6
    a: COMMIT
    a: UNLISTEN one
    b: NOTIFY one, 'gone'
    a: SELECT 7
    a: BEGIN
    a: LISTEN two
    b: NOTIFY two, 'before'
    a: COMMIT
    b: NOTIFY two, 'after'
    a: SELECT 8
    a: BEGIN
    a: LISTEN three
    a: ROLLBACK
    b: NOTIFY three
    a: SELECT 9
    a: SELECT * FROM pg_listening_channels()
    a: BEGIN
    a: SAVEPOINT s
    a: LISTEN four
    a: ROLLBACK TO s
    a: UNLISTEN two
    a: COMMIT
    b: NOTIFY four
    b: NOTIFY two
    a: SELECT 10
    a: LISTEN five
    a: LISTEN "Six six"
    b: SELECT pg_notify('Six six', 'hello'), pg_notify('five', '')
    a: SELECT 11
    a: UNLISTEN *
    b: NOTIFY five
    a: SELECT 12
    a: LISTEN again
    a: BEGIN
    a: UNLISTEN *
    a: LISTEN again
    a: COMMIT
    b: NOTIFY again
    a: SELECT 'again'
    a: LISTEN seven
    a: DISCARD ALL
    b: NOTIFY seven
    a: SELECT 13
    a: LISTEN eight; NOTIFY eight, 'in one'
    a: SELECT 14
    a: SELECT pg_notify('eight', 'own')
    a: BEGIN
    a: SELECT 1/0
    a: LISTEN nine
    a: COMMIT
    a: SELECT pg_listening_channels()
  `),
  'pg_listening_channels() inside of larger statements': lines(String.raw`
    a: SELECT EXISTS (SELECT 1 FROM pg_listening_channels() AS c(n) WHERE n = 'a')
    a: LISTEN a
    a: SELECT EXISTS (SELECT 1 FROM pg_listening_channels() AS c(n) WHERE n = 'a') AS listening
    a: SELECT EXISTS (SELECT 1 FROM pg_listening_channels() AS c(n) WHERE n = $1) ⟵ a
    b: SELECT EXISTS (SELECT 1 FROM pg_listening_channels() AS c(n) WHERE n = $1) ⟵ a
    a: LISTEN "it's a \ b, 日"
    a: SELECT '日', count(*), string_agg(n, '|' ORDER BY n) FROM "pg_catalog"."pg_listening_channels" ( ) c(n)
    a: SELECT 1; SELECT count(*) FROM pg_listening_channels(); SELECT 2
    a: SELECT * FROM pg_listening_channels() WHERE pg_listening_channels = 'a'
    a: SELECT '日', nothing FROM pg_listening_channels() AS c(n), (SELECT pg_listening_channels()) d WHERE nowhere
    a: SELECT n + 1 FROM pg_listening_channels() AS c(n)
    a: WITH w AS (SELECT pg_listening_channels() ORDER BY 1) SELECT 'a' IN (SELECT pg_listening_channels FROM w)
    a: SELECT n, o > 0 FROM pg_listening_channels() WITH ORDINALITY AS c(n, o) WHERE n = 'a'
    a: BEGIN
    a: LISTEN late
    a: SELECT count(*) FROM pg_listening_channels()
    a: UNLISTEN a
    a: SELECT array_agg(n ORDER BY n) FROM pg_listening_channels() n
    a: COMMIT
    a: SELECT array_agg(n ORDER BY n) FROM pg_listening_channels() n WHERE n <> $1 ⟵ x
    a: CREATE VIEW told AS SELECT count(*) AS n FROM pg_listening_channels()
    b: SELECT n FROM told
    a: DROP VIEW told
    a: CREATE TABLE told AS SELECT n FROM pg_listening_channels() n
    a: INSERT INTO told SELECT n FROM pg_listening_channels() n RETURNING n
    b: SELECT count(*) FROM told
    a: DROP TABLE told
    a: BEGIN
    a: SELECT count(*), 1/0 FROM pg_listening_channels()
    a: SELECT count(*) FROM pg_listening_channels()
    a: ROLLBACK
    a: UNLISTEN *
    a: SELECT count(*) FROM pg_listening_channels()
  `),
  'sequences in a transaction': lines(String.raw`
    a: BEGIN
    a: SELECT nextval('numbers')
    a: SELECT currval('numbers'), lastval()
    a: COMMIT
    b: SELECT 1
  `),
  'sequences outside of a transaction, once asked for': lines(String.raw`
    a: SELECT lastval()
    a: SELECT nextval('numbers') > 0
    a: SELECT currval('numbers') = lastval()
    a: DISCARD SEQUENCES
    a: SELECT currval('numbers')
    a: SELECT nextval('numbers') > 0
    a: DISCARD ALL
    b: SELECT currval('numbers')
    b: SELECT lastval()
    b: INSERT INTO notes (words) VALUES ('x')
    b: SELECT currval('notes_id_seq') = (SELECT max(id) FROM notes)
    b: DISCARD ALL
    a: SELECT lastval()
  `),
  'sequences of two clients, once asked for': lines(String.raw`
    a: BEGIN
    a: SELECT nextval('numbers') > 0, currval('numbers') > 0
    a: COMMIT
    b: SELECT lastval()
    b: SELECT nextval('numbers') > 0
    a: SELECT nextval('numbers') > 0
    b: SELECT currval('numbers') = lastval()
    b: DISCARD ALL
  `),
  'what is bound to the transaction': lines(String.raw`
    a: BEGIN
    a: SELECT lo_creat(-1) > 0
    a: COMMIT
    b: SELECT lo_close(0)
    a: SELECT pg_export_snapshot() IS NOT NULL
    b: SELECT 1
    a: BEGIN
    a: SET CONSTRAINTS ALL DEFERRED
    a: COMMIT
    b: SELECT 1
    a: SELECT pg_stat_clear_snapshot()
  `),
  application_name: lines(String.raw`
    a: SET application_name = 'app a'
    b: SET application_name = 'app b'
    a: SHOW application_name
    b: SHOW application_name
    a: SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()
    b: SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()
  `),
}
