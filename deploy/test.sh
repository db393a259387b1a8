#!/usr/bin/env bash
# Runs every test of the project, after installing and building what they need.
#
#   deploy/test.sh
#
# With ../shared/data beside the clone (or VECGRID_DATA set) the tests on the full WordNet set run too;
# without it they say that they were left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/environment.sh
. deploy/environment.sh
trap print_steps EXIT

# What measures, fills memory or keeps the cores busy for minutes runs last, one test at a time.
rust_tests() {
  cargo test --locked --release --workspace -- --skip alone::
  cargo test --locked --release --workspace --test system alone:: -- --test-threads 1
}

python_tests() {
  local venv="$VECGRID_CACHE/venv"
  # Outside the clone, and kept: only the first run downloads. A venv whose Python is gone is made anew.
  "$venv/bin/python" -c '' 2>/dev/null || python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -e "client-py[test]"
  VECGRID_E2E=1 VECGRIDD_BIN="$CARGO_TARGET_DIR/release/vecgridd" \
    "$venv/bin/python" -m pytest client-py/tests -q
}

if [ -z "${VECGRID_DATA:-}" ] && [ -d ../shared/data ]; then
  VECGRID_DATA=$(realpath ../shared/data)
fi
if [ -n "${VECGRID_DATA:-}" ]; then
  export VECGRID_DATA
  echo "Tests on the full data set: with $VECGRID_DATA"
else
  echo "Tests on the full data set: left out (no ../shared/data, VECGRID_DATA not set)"
fi

run_step "install what is missing" deploy/install-deps.sh run test
run_step "build" cargo build --locked --release --workspace
run_step "Rust tests" rust_tests
run_step "Python tests" python_tests
