#!/bin/sh
# install.sh VENV LOCK ...: install the packages of lock files into a virtual environment. The Dockerfile runs this script.
# uv takes a tenth of pip's time. It does not read pip's configuration, so pip installs if uv cannot find the packages.
set -eu
venv=$1
shift
for lock; do
  set -- "$@" --requirement "$lock"
  shift
done
/build/uv/bin/uv pip install --python "$venv" --no-deps --require-hashes "$@" \
  || PIP_PYTHON=$venv/bin/python pip install --no-deps --no-compile --require-hashes "$@"
rm -f "$venv/.lock" # of uv
