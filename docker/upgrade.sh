#!/bin/sh
# Upgrade the stack after `git pull`: build the images, stop the programs, back up, upgrade the schemas of both databases,
# start the programs. If the upgrade of a schema fails, the backup is restored, and the tags name the former images again.
set -eu
cd "$(dirname "$0")/.."

say() { echo "upgrade: $*" >&2; }
run() { docker compose run --rm --no-deps -T "$@" < /dev/null; }

docker/secrets.sh
running=$(docker compose --profile '*' ps --services --status running --status restarting --status created | grep -vx postgres || true)
say "building the images"
while IFS== read -r name value; do
  [ "$name" = VERSION ] || eval "export STACK_$name=\"\${STACK_$name-\$value}\""
done <<LABELS
$(docker/source.sh)
LABELS
former=$(for image in $(docker compose config --images mlflow prefect | sort -u); do
  docker image inspect --format "{{.Id}} $image" "$image" 2> /dev/null || true
done)
# shellcheck disable=SC2086 # a list of names
docker compose --profile '*' build mlflow prefect $running
# shellcheck disable=SC2086
[ -z "$running" ] || docker compose --profile '*' stop $running
say "backing up"
if ! backup=$(docker/backup.sh); then
  # shellcheck disable=SC2086
  [ -z "$running" ] || docker compose --profile '*' start $running
  say "failed: the backup failed, so nothing was changed; the programs are started again"
  exit 1
fi
if ! {
  say "upgrading the schema of MLflow's database" &&
    run mlflow mlflow db upgrade postgresql+psycopg://mlflow@postgres:5432/mlflow &&
    say "upgrading the schema of Prefect's database" &&
    run prefect prefect server database upgrade --yes
}; then
  docker/restore.sh "$backup"
  echo "$former" | while read -r id image; do [ -z "$id" ] || docker image tag "$id" "$image"; done
  say "failed; the data are restored from $backup, and the programs are stopped"
  say "check out the former version (git checkout), whose images are still there, and run: docker compose up --detach --wait"
  exit 1
fi
# shellcheck disable=SC2086
[ -z "$running" ] || docker compose --profile '*' up --detach --wait $running
say "done; the backup of the former data is $backup"
