#!/bin/sh
# Create the stack's secrets. Existing secrets are kept. Compose mounts the files with their modes for any user, so the
# files are readable and the folder is not.
set -eu
umask 077
folder=$(dirname "$0")/secrets
mkdir -p "$folder"
chmod 700 "$folder"

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

make_secret() { # NAME PREFIX
  [ -s "$folder/$1" ] && return
  printf '%s%s' "$2" "$(random)" > "$folder/.$1"
  chmod 644 "$folder/.$1"
  mv -f "$folder/.$1" "$folder/$1"
  echo "created $folder/$1"
}

for name in postgres_password mlflow_db_password prefect_db_password mlflow_admin_password mlflow_flask_key; do
  make_secret "$name" ""
done
make_secret prefect_auth admin:
