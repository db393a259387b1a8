#!/usr/bin/env bash
# Makes (once) the Python environment that peers.py runs in, outside the clone, and prints its python.
#
#   "$(tests/peers/setup.sh)" tests/peers/peers.py --help
#
# The versions are exact: a table of peers is worth nothing when nobody knows which peers.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=deploy/environment.sh
. deploy/environment.sh
venv="$VECGRID_CACHE/peers-venv"
packages=(numpy==2.4.6 hnswlib==0.8.0 faiss-cpu==1.15.1 usearch==2.26.6 qdrant-edge-py==0.9.0)

# The list is written last, so that an interrupted set-up is done again and a changed list is noticed.
stamp="$venv/vecgrid-packages"
if [ "$(cat "$stamp" 2>/dev/null)" != "${packages[*]}" ]; then
  deploy/install-deps.sh run peers >&2
  "$venv/bin/python" -c '' 2>/dev/null || python3 -m venv --clear "$venv" >&2
  # One by one: a peer that cannot be installed here must not take the others away.
  # peers.py reports it as missing.
  whole=true
  for package in "${packages[@]}"; do
    if ! "$venv/bin/pip" install --quiet --disable-pip-version-check "$package" >&2; then
      echo "peers: $package could not be installed" >&2
      whole=false
    fi
  done
  if $whole; then
    echo "${packages[*]}" >"$stamp"
  fi
fi
echo "$venv/bin/python"
