// Statements of SQL PREPARE whose columns change after it: refused as PostgreSQL does, by whichever server.
import { lines, type Script } from './two-clients.ts'

/** For two clients; `a` and `b` prepare the same text, which is one statement on the servers. */
export const prepareScripts: Readonly<Record<string, Script>> = {
  'PREPARE before DDL': lines(String.raw`
    a: CREATE TABLE changing AS SELECT 1 AS one
    a: PREPARE p AS SELECT * FROM changing
    a: PREPARE narrow AS SELECT one FROM changing
    a: PREPARE ins AS INSERT INTO changing (one) VALUES ($1)
    a: EXECUTE p
    b: ALTER TABLE changing ADD COLUMN two text
    a: EXECUTE p
    a: EXECUTE narrow
    a: EXECUTE ins(2)
    b: PREPARE p AS SELECT * FROM changing
    b: EXECUTE p
    a: EXECUTE p
    a: EXPLAIN (COSTS OFF) EXECUTE p
    a: CREATE TABLE copied AS EXECUTE p
    a: BEGIN
    a: EXECUTE narrow
    a: EXECUTE p
    a: EXECUTE narrow
    a: ROLLBACK
    b: ALTER TABLE changing DROP COLUMN two
    a: EXECUTE p
    b: EXECUTE p
    b: ALTER TABLE changing ALTER one TYPE bigint
    a: EXECUTE narrow
    a: EXECUTE ins(3)
    b: ALTER TABLE changing ALTER one TYPE int
    a: EXECUTE narrow
    a: BEGIN
    a: ALTER TABLE changing ADD COLUMN three int
    a: EXECUTE p
    a: ROLLBACK
    a: EXECUTE p
    a: BEGIN
    a: ALTER TABLE changing ADD COLUMN three int
    a: PREPARE inner_p AS SELECT * FROM changing
    a: EXECUTE inner_p
    a: ROLLBACK
    a: EXECUTE inner_p
    b: DROP TABLE changing
    a: EXECUTE p
    a: EXECUTE narrow
    b: CREATE TABLE changing AS SELECT 7 AS one
    a: EXECUTE p
    a: EXECUTE narrow
    b: DROP TABLE changing
  `),
  'PREPARE before another search_path': lines(String.raw`
    a: CREATE SCHEMA narrow
    a: CREATE SCHEMA wide
    a: CREATE TABLE narrow.t AS SELECT 1 AS n
    a: CREATE TABLE wide.t AS SELECT 2 AS n, 'w' AS more
    a: SET search_path = narrow
    a: PREPARE st AS SELECT * FROM t
    a: EXECUTE st
    b: SET search_path = wide
    b: PREPARE st AS SELECT * FROM t
    b: EXECUTE st
    a: EXECUTE st
    a: SET search_path = wide
    a: EXECUTE st
    a: SET search_path = narrow
    a: EXECUTE st
    b: SET search_path = narrow
    b: EXECUTE st
    a: DROP SCHEMA narrow, wide CASCADE
    a: EXECUTE st
  `),
}
