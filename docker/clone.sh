#!/bin/sh
# Write the name of this clone (CLONE) to the volume of the databases, or fail if that of another clone is there.
set -eu
file=/var/lib/postgresql/clone
[ -s "$file" ] || echo "$CLONE" > "$file"
[ "$(cat "$file")" != "$CLONE" ] || exit 0
echo "the volumes of this stack belong to another clone: set COMPOSE_PROJECT_NAME in .env to another name, or, if this" \
  "clone replaces that one, copy its docker/secrets/" >&2
exit 1
