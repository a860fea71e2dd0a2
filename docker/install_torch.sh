#!/bin/sh
# install_torch.sh VARIANT INDEX: install torch and its CUDA libraries into the venv. The Dockerfile runs this script.
# Without INDEX the lock of the variant is installed with hashes: from /wheels, pip's index, or for cpu PyTorch's own.
# An index of the user can have builds that no lock knows, so it is trusted: the version is pinned, hashes are not checked.
set -eu
variant=$1 index=$2
lock=requirements-torch-$variant.lock

install() { pip install --no-compile --find-links /wheels "$@"; }

if [ -n "$index" ]; then
  install --no-deps --index-url "$index" "$(sed -n 's/^\(torch==[0-9.]*\).*/\1/p' "$lock")"
  /opt/venv/bin/python check_torch.py "$variant" > libraries.txt
  install --index-url "$index" --requirement libraries.txt
else
  [ "$variant" != cpu ] || ls /wheels/torch-*.whl > /dev/null 2>&1 || index=https://download.pytorch.org/whl/cpu
  install --no-deps --require-hashes ${index:+--index-url "$index"} --requirement "$lock"
  /opt/venv/bin/python check_torch.py "$variant" > libraries.txt
fi
ls /opt/venv/lib/python3.11/site-packages > /build/torch-files
python3 date_files.py /opt
