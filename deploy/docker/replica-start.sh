#!/bin/sh
# Starts a streaming replica of $PRIMARY_HOST with the PostgreSQL image; a new one is copied from its primary first.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  mkdir -p "$PGDATA"
  chown postgres:postgres "$PGDATA"
  chmod 700 "$PGDATA"
  # The password goes into the replica's own settings, for streaming later on. A copy that fails leaves nothing.
  until PGPASSWORD="$REPLICATION_PASSWORD" gosu postgres pg_basebackup --host "$PRIMARY_HOST" \
    --username replicator --no-password --pgdata "$PGDATA" --checkpoint fast --write-recovery-conf; do
    echo "no copy of $PRIMARY_HOST yet, trying again" >&2
    sleep 2
  done
fi
exec docker-entrypoint.sh "$@"
