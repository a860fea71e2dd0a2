#!/bin/sh
# Create the stack's secrets, and the name of this clone. Existing ones are kept. Compose mounts the files with their modes
# for any user, so the files are readable and the folder is not.
set -eu
umask 077
cd "$(dirname "$0")/.."
folder=docker/secrets

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# Refuse secrets for a new clone if the volumes of a stack with its name are there: they have other passwords.
refuse_name_of_another_stack() {
  name=$(printf 'name: paramshare\nservices: {any: {image: any}}\n' | docker compose --file - config | sed -n 's/^name: //p')
  of_stack="label=com.docker.compose.project=$name"
  [ -n "$name" ] && [ -n "$(docker volume ls --quiet --filter "$of_stack")" ] || return 0
  place=$(docker ps --all --filter "$of_stack" --format '{{.Label "com.docker.compose.project.working_dir"}}' | head -n 1)
  echo "secrets: this server has a stack named $name${place:+ already, from $place}; set COMPOSE_PROJECT_NAME in .env to" \
    "another name, or, if this clone replaces that one, copy its docker/secrets/" >&2
  exit 1
}

make_secret() { # NAME PREFIX
  [ -s "$folder/$1" ] && return
  printf '%s%s' "$2" "$(random)" > "$folder/.$1"
  chmod 644 "$folder/.$1"
  mv -f "$folder/.$1" "$folder/$1"
  echo "created $folder/$1"
}

[ -s "$folder/postgres_password" ] || ! docker version > /dev/null 2>&1 || refuse_name_of_another_stack
mkdir -p "$folder"
chmod 700 "$folder"
for name in postgres_password mlflow_db_password prefect_db_password mlflow_admin_password mlflow_flask_key; do
  make_secret "$name" ""
done
make_secret prefect_auth admin:

file=$folder/clone.yaml
name=$(sed -n 's/^  clone-\([0-9a-f]*\):$/\1/p' "$file" 2> /dev/null || true)
[ -n "$name" ] || echo "created $file"
sed "s/\bNAME\b/${name:-$(random | cut -c 1-12)}/" docker/clone.template.yaml > "$folder/.clone.yaml"
chmod 644 "$folder/.clone.yaml"
mv -f "$folder/.clone.yaml" "$file"
