#!/bin/bash
# At the first start: a role for each program, and a database that it alone can connect to.
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

# The socket's usual folder is in memory, and where the image lacks it, the engine forgets at a restart who may write
# there.
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres \
  --command="ALTER SYSTEM SET unix_socket_directories = '/tmp'"
