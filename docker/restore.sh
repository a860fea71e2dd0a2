#!/bin/sh
# restore.sh FOLDER: replace both databases and MLflow's artifacts by the backup in FOLDER.
# The backup is loaded beside the current data. Only then the programs stop and the data are exchanged, so a failure
# before that changes nothing.
set -eu
cd "$(dirname "$0")/.."
backup=${1:?no backup is given; run: make restore BACKUP=backups/20260101T000000Z}
export COMPOSE_PROFILES='*' # includes the GPU worker

say() { echo "restore: $*" >&2; }
sql() {
  docker compose exec -T postgres \
    psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --host=/tmp --username=postgres
}
artifacts() { docker compose run --rm --no-deps -T mlflow python -c "$(cat docker/artifacts.py)" "$1"; }

drop() { # SUFFIX
  for database in mlflow prefect; do echo "DROP DATABASE IF EXISTS ${database}_$1 WITH (FORCE);"; done | sql
}

# Complete or undo an interrupted restore, this one or an earlier one: complete it if the databases were exchanged. The
# kept databases show that they were, so they are dropped last.
recover() {
  exchanged=$(echo "SELECT count(*) FROM pg_database WHERE datname = 'mlflow_kept'" | sql) &&
    { [ "$exchanged" = 1 ] || artifacts undo < /dev/null; } && artifacts drop < /dev/null && drop read && drop kept
}

finish() {
  recover || { say "failed, and the former data could not be put back; run the same command again to do so"; exit 1; }
  if [ "$exchanged" = 1 ]; then say "$backup is restored"; else say "failed; the former data are put back"; fi
  # shellcheck disable=SC2086 # a list of names
  [ -z "$stopped" ] || docker compose up --detach --wait --no-recreate $stopped
}

(cd "$backup" && sha256sum --check --quiet SHA256SUMS) || { say "$backup is incomplete or changed"; exit 1; }
docker compose up --detach --wait --no-recreate postgres >&2

recover
stopped=
trap finish EXIT
trap 'exit 130' HUP INT TERM

for database in mlflow prefect; do
  say "loading $database"
  sql <<SQL
CREATE DATABASE ${database}_read OWNER $database;
REVOKE ALL ON DATABASE ${database}_read FROM PUBLIC;
SQL
  docker compose exec -T postgres pg_restore --host=/tmp --username=postgres --role="$database" --no-owner \
    --no-privileges --exit-on-error --single-transaction --dbname="${database}_read" < "$backup/$database.dump"
done
say "loading the artifacts"
artifacts read < "$backup/artifacts.tar"

stopped=$(docker compose ps --services --status running --status restarting --status created | grep -vx postgres || true)
# shellcheck disable=SC2086
[ -z "$stopped" ] || docker compose stop $stopped
artifacts swap < /dev/null
sql <<'SQL'
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname IN ('mlflow', 'prefect', 'mlflow_read', 'prefect_read');
BEGIN;
ALTER DATABASE mlflow RENAME TO mlflow_kept;
ALTER DATABASE mlflow_read RENAME TO mlflow;
ALTER DATABASE prefect RENAME TO prefect_kept;
ALTER DATABASE prefect_read RENAME TO prefect;
COMMIT;
SQL
