#!/usr/bin/env bash
# A grid of three members on this machine. Ctrl-C stops all of them.
#
#   deploy/local-grid.sh              temporary data, removed at the end
#   deploy/local-grid.sh DIR          data in DIR: run it again, and the same grid is there again
#
#   VECGRID_MEMBERS=5                 more of them (1 to 9)
#   VECGRID_BASE_PORT=5700            member 1 listens on 5700 (apps), 5701 (members), 5702 (admin); member 2 on 5710 …
#
# Builds vecgridd first, if need be: see deploy/quickstart.sh for what that takes.
set -euo pipefail

case "${1:-}" in
  -*) sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit 2 ;;
esac
kept="${1:+$(mkdir -p "$1" && cd "$1" && pwd)}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

members="${VECGRID_MEMBERS:-3}"
base="${VECGRID_BASE_PORT:-5700}"
[[ "$members" =~ ^[1-9]$ ]] || { echo "VECGRID_MEMBERS is a number from 1 to 9, not $members" >&2 && exit 2; }
[[ "$base" =~ ^[0-9]{4,5}$ ]] || { echo "VECGRID_BASE_PORT is a port, not $base" >&2 && exit 2; }

started_at=60  # seconds within which all members must be ready
stopped_at=30  # seconds that they have to stop by themselves

# shellcheck source=deploy/environment.sh
. deploy/environment.sh
# The daemons are told everything on the command line; what is set for others must not reach them.
unset "${!VECGRID_@}"
vecgridd="$CARGO_TARGET_DIR/release/vecgridd"
vecgrid="$CARGO_TARGET_DIR/release/vecgrid"
if ! [ -x "$vecgridd" ] || ! [ -x "$vecgrid" ]; then
  deploy/install-deps.sh run
  cargo build --locked --release -p vecgridd -p vecgrid-client
fi

work="${kept:-$(mktemp -d "${TMPDIR:-/tmp}/vecgrid.XXXXXX")}"
daemons=()

running() {
  local daemon
  for daemon in "${daemons[@]}"; do
    ! kill -0 "$daemon" 2>/dev/null || return 0
  done
  return 1
}

# shellcheck disable=SC2317 # called by the trap
cleanup() {
  trap '' INT TERM
  [ "${#daemons[@]}" -eq 0 ] || stop_processes "$stopped_at" "${daemons[@]}" ||
    echo "Not all members stopped within $stopped_at s; they were killed." >&2
  [ -n "$kept" ] || rm -rf "$work"
}
trap cleanup EXIT
trap 'echo; echo "Stopping all members."; exit 0' INT TERM

# Port of member $1: 0 = apps, 1 = members, 2 = admin.
port() { echo $((base + 10 * ($1 - 1) + $2)); }

seeds=
for ((number = 1; number <= members; number++)); do
  seeds+="${seeds:+,}127.0.0.1:$(port "$number" 1)"
done

for ((number = 1; number <= members; number++)); do
  home="$work/member-$number"
  mkdir -p "$home"
  command=("$vecgridd" --data-dir "$home/data" --socket "$home/vecgridd.sock" --port-file "$home/ports.json"
    --grid local --node-name "member-$number" --seeds "$seeds"
    --listen "127.0.0.1:$(port "$number" 0)" --peer-listen "127.0.0.1:$(port "$number" 1)"
    --admin-listen "127.0.0.1:$(port "$number" 2)")
  # One creates the grid, if its data directory holds none; the others join it.
  [ "$number" -ne 1 ] || command+=(--bootstrap)
  rm -f "$home/ports.json"
  # Not in the terminal's foreground group: Ctrl-C is for this script, which then stops them in order.
  setsid "${command[@]}" </dev/null >>"$home/log" 2>&1 &
  daemons+=($!)
done

deadline=$((SECONDS + started_at))
for ((number = 1; number <= members; number++)); do
  home="$work/member-$number"
  until curl --silent --fail --output /dev/null --unix-socket "$home/vecgridd.sock" http://localhost/readyz; do
    if ! kill -0 "${daemons[number - 1]}" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
      echo "Member $number is not ready. Its last words:" >&2
      tail -n 20 "$home/log" >&2
      exit 1
    fi
    sleep 0.05
  done
done

cat <<END
A grid of $members members is ready; an app talks to the one beside it. Each takes its share of the partitions now, as a
primary or as a backup, and passes on what is another's.

END
for ((number = 1; number <= members; number++)); do
  echo "  member-$number   http://127.0.0.1:$(port "$number" 0)   unix:$work/member-$number/vecgridd.sock   process ${daemons[number - 1]}"
done
cat <<END

In another terminal:

  export PATH=$CARGO_TARGET_DIR/release:\$PATH VECGRID_ENDPOINT=http://127.0.0.1:$(port 1 0)
  vecgrid status
  vecgrid create docs --dimension 3 --metric cosine
  vecgrid put docs a --vector '[1,0,0]'
  vecgrid search docs --vector '[1,0.1,0]' -k 5
  curl http://127.0.0.1:$(port "$members" 0)/v1/grid       the grid, as the last member sees it
  kill -9 ${daemons[members - 1]}; vecgrid status           what happens without member-$members?

Logs and data: $work${kept:+ (kept)}
Ctrl-C stops all members.
END

# Until Ctrl-C, or until nobody is left.
while running; do
  wait -n "${daemons[@]}" 2>/dev/null || true
done
echo "All members have ended; see the logs in $work/member-*/log" >&2
kept="${kept:-$work}"
exit 1
