#!/bin/sh
# After `git pull`: build the images, stop the programs, back up, bring both databases to the schema of the new programs,
# start again. Where that fails, everything is put back as it was when they had stopped.
set -eu
cd "$(dirname "$0")/.."

say() { echo "upgrade: $*" >&2; }
run() { docker compose run --rm --no-deps -T "$@" < /dev/null; }

running=$(docker compose --profile '*' ps --services --status running --status restarting --status created | grep -vx postgres || true)
say "building the images"
export STACK_COMMIT="${STACK_COMMIT-$(git rev-parse HEAD 2> /dev/null)}"
export STACK_VERSION="${STACK_VERSION-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)}"
# shellcheck disable=SC2086 # a list of names
docker compose --profile '*' build mlflow prefect $running
# shellcheck disable=SC2086
[ -z "$running" ] || docker compose --profile '*' stop $running
say "backing up"
if ! backup=$(docker/backup.sh); then
  # shellcheck disable=SC2086
  [ -z "$running" ] || docker compose --profile '*' start $running
  say "failed: there is no backup, so nothing was changed; what ran runs again"
  exit 1
fi
if ! {
  say "the schema of MLflow's database" &&
    run mlflow mlflow db upgrade postgresql+psycopg://mlflow@postgres:5432/mlflow &&
    say "the schema of Prefect's database" &&
    run prefect prefect server database upgrade --yes
}; then
  docker/restore.sh "$backup"
  say "failed. Everything is as it was, and in $backup; the programs are stopped."
  say "Go back to the version before (git checkout), build its images, and: docker compose up --detach --wait"
  exit 1
fi
# shellcheck disable=SC2086
[ -z "$running" ] || docker compose --profile '*' up --detach --wait $running
say "done; before it: $backup"
