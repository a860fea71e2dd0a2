#!/bin/sh
# Delete files from the venv that no program reads at run time: tests, headers and sources, debug symbols, Arrow's network
# server. The Dockerfile runs this script.
set -eu
cd /opt/venv/lib/python3.11/site-packages
rm -rf torch/include torch/share/cmake pyarrow/include pyarrow/src
rm -f pyarrow/*flight* pyarrow/libarrow_python.so pyarrow/libarrow_python.so.*.*  # .so.NNNN is what is loaded
test ! -d torch/bin || find torch/bin -type f ! -name torch_shm_manager -delete
find . -type d -name tests -prune -exec rm -rf {} +
find . -type f '(' -name '*.a' -o -name '*.c' -o -name '*.cpp' -o -name '*.h' -o -name '*.pyx' -o -name '*.px[di]' \
  -o -name '*.pyi' ')' -delete
# Only extension modules are stripped, since strip can break the ELF layout of the libraries beside them.
find . -type f '(' -name '*.cpython-*.so' -o -name '*.abi3.so' ')' -exec strip --strip-debug {} +
