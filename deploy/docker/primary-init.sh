#!/bin/sh
# Run once by the PostgreSQL image on a new primary: the role that owns the database, the role that replicas
# log in with, and the line that lets them in.
set -e
psql -v ON_ERROR_STOP=1 --no-psqlrc --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB" \
  --set shard_password="$SHARD_PASSWORD" --set replication_password="$REPLICATION_PASSWORD" <<'SQL'
CREATE ROLE app LOGIN PASSWORD :'shard_password';
-- How far a replica is on a new timeline: only members may see what it receives.
GRANT pg_read_all_stats TO app;
CREATE ROLE replicator LOGIN REPLICATION PASSWORD :'replication_password';
SELECT format('ALTER DATABASE %I OWNER TO app', current_database()) \gexec
SQL
echo 'host replication replicator all scram-sha-256' >> "$PGDATA/pg_hba.conf"
