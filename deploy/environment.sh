# shellcheck shell=bash
# Sourced by quickstart.sh, test.sh, tests/peers/setup.sh and .ci/run; source it yourself before calling cargo by
# hand, and you share their build:
#
#   . deploy/environment.sh
#
# Everything that is built or downloaded lands in one cache folder outside the clone. One target folder and one
# profile (release) for all of them, and the same C++ compiler setting: then RocksDB, by far the longest part of
# a first build, is compiled once. It stays compiled across clones.

VECGRID_CACHE="${VECGRID_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vecgrid}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$VECGRID_CACHE/target}"

# rustup installs here, and a shell that is not a login shell does not look here.
if [ -d "$HOME/.cargo/bin" ] && ! command -v cargo >/dev/null; then
  PATH="$HOME/.cargo/bin:$PATH"
fi

# The build script of RocksDB runs again when these change: set here, and only here.
if [ -z "${CC:-}${CXX:-}" ] && command -v ccache >/dev/null; then
  export CC="ccache gcc" CXX="ccache g++"
fi

# stop_processes SECONDS PID…: asks them to stop, and waits. Fails when some had to be killed.
stop_processes() {
  local deadline=$((SECONDS + $1)) pid killed=false
  shift
  kill -TERM "$@" 2>/dev/null || true
  for pid; do
    while kill -0 "$pid" 2>/dev/null; do
      if [ "$SECONDS" -ge "$deadline" ]; then
        kill -KILL "$pid" 2>/dev/null || true
        killed=true
        break
      fi
      sleep 0.05
    done
  done
  ! $killed
}

# run_step NAME COMMAND…: run it, remember how long it took. print_steps shows the table.
step_times=()
run_step() {
  local name="$1" start=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  step_running="$name"
  "$@"
  step_running=
  step_times+=("$(printf '%5d s  %s' $((SECONDS - start)) "$name")")
}

print_steps() {
  printf '\n== Time per step\n'
  [ "${#step_times[@]}" -eq 0 ] || printf '%s\n' "${step_times[@]}"
  [ -z "${step_running:-}" ] || printf 'FAILED   %s\n' "$step_running"
}
