-- Clients' roles run these themselves: in conditions on keys, in the fence's triggers, after DDL, and at COMMIT. What PUBLIC
-- may do by default is a database's own affair (ALTER DEFAULT PRIVILEGES), so it is said.
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA ringfence TO PUBLIC;
