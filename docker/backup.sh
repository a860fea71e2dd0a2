#!/bin/sh
# Back up both databases and MLflow's artifacts to a new folder of backups/, while the stack runs. The folder appears when
# it is complete. It does not contain the secrets: back up docker/secrets/ separately.
set -eu
umask 077
cd "$(dirname "$0")/.."

name=$(date -u +%Y%m%dT%H%M%SZ)
new=backups/.$name.$$
mkdir -p "$new"
trap 'rm -rf "$new"' EXIT
trap 'exit 130' HUP INT TERM

docker compose up --detach --wait --no-recreate --quiet-pull postgres >&2
# The databases are first: the artifacts that their runs name were written earlier, so they are in the archive.
for database in mlflow prefect; do
  docker compose exec -T postgres pg_dump --host=/tmp --username=postgres --format=custom "$database" \
    > "$new/$database.dump"
done
docker compose run --rm --no-deps -T mlflow python -c "$(cat docker/artifacts.py)" write > "$new/artifacts.tar"
(cd "$new" && sha256sum mlflow.dump prefect.dump artifacts.tar > SHA256SUMS)

mv "$new" "backups/$name"
echo "backups/$name"
