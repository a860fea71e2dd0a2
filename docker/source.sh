#!/bin/sh
# Print what the labels of the images say of this checkout, a line for each: the version, the commit, its date, the address.
cd "$(dirname "$0")/.." || exit 1
git() { command git "$@" 2> /dev/null; }

echo "VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)"
echo "COMMIT=$(git describe --always --abbrev=40 --dirty --exclude '*')"
echo "CREATED=$(TZ=UTC git show --no-patch --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd)"
# Without a password, and only an address that others can use.
echo "SOURCE=$(git config remote.origin.url | sed -E 's,^git@([^:]+):,https://\1/,; s,://[^/@]*@,://,' | grep -E '^(https?|ssh)://')"
