#!/bin/bash
# At the first start, create a role for each program, and a database that only this role can connect to.
set -euo pipefail

for name in mlflow prefect; do
  psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres \
    --set=name="$name" --set=file="/run/secrets/${name}_db_password" <<'SQL'
\set password `cat :'file'`
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done

# The default folder of the socket is a tmpfs. If the image lacks this folder, the engine loses its permissions at a
# restart, so the socket is moved.
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres \
  --command="ALTER SYSTEM SET unix_socket_directories = '/tmp'"
