#!/usr/bin/env bash
# Regenerates src/vecgrid/v1 from proto/vecgrid/v1/vecgrid.proto, in a throw-away environment.
#
# grpcio-tools is pinned on purpose: stubs made by 1.71.2 import under protobuf 5.29, 6 and 7, later
# generators demand a newer runtime. `./generate.sh --check` changes nothing and fails if the checked-in
# stubs are stale.
set -euo pipefail
cd "$(dirname "$0")"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
# pkg_resources (setuptools < 81) is imported by grpcio-tools 1.71.
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check \
    grpcio-tools==1.71.2 'setuptools<81' mypy-protobuf==3.6.0

out="$scratch/out"
mkdir "$out"
# The Python package has the path of the proto package (vecgrid/v1), so the generated imports are right as
# they are. mypy-protobuf is used for the service only: grpcio-tools makes no .pyi for it.
PATH="$scratch/venv/bin:$PATH" "$scratch/venv/bin/python" -m grpc_tools.protoc -I ../proto \
    --python_out="$out" --pyi_out="$out" --grpc_python_out="$out" --mypy_grpc_out="$out" \
    vecgrid/v1/vecgrid.proto
printf '"""Generated code of the public contract `vecgrid.v1`: made by generate.sh, never edited by hand."""\n' \
    > "$out/vecgrid/v1/__init__.py"

if [[ "${1:-}" == --check ]]; then
    diff -r --exclude=__pycache__ "$out/vecgrid/v1" src/vecgrid/v1 && echo "stubs are up to date"
else
    cp "$out"/vecgrid/v1/* src/vecgrid/v1/
fi
