#!/usr/bin/env bash
# From a fresh clone to a search: builds vecgridd, starts one beside you, imports 8,000 WordNet glosses and
# searches them three times.
#
#   deploy/quickstart.sh            stops the daemon and removes its data at the end
#   deploy/quickstart.sh --keep     leaves it running, and says how to reach and stop it
#
# Needs Debian 12 (root or sudo) or the packages named in install-deps.sh, and a Rust toolchain.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

keep=false
case "${1:-}" in
  "") ;;
  --keep) keep=true ;;
  *) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit 2 ;;
esac

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\033[1m' plain=$'\033[0m'
fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

sample=tests/sample
started_at=30  # seconds within which the daemon must be there
stopped_at=30  # seconds that it has to stop by itself

work=$(mktemp -d "${TMPDIR:-/tmp}/vecgrid.XXXXXX")
socket="$work/vecgridd.sock"
daemon=
finished=false

stop_daemon() {
  stop_processes "$stopped_at" "$daemon" || echo "The daemon did not stop within $stopped_at s and was killed." >&2
  wait "$daemon" || echo "The daemon ended with exit code $?." >&2
}

# shellcheck disable=SC2317 # called by the trap
cleanup() {
  if [ -n "$daemon" ] && $finished && $keep; then
    return
  fi
  if [ -n "$daemon" ]; then
    $finished || { echo "The daemon's last words:" >&2 && tail -n 20 "$work/log" >&2; }
    stop_daemon
  fi
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# until_true WHAT COMMAND…: wait for a condition, not for a time; give up when the daemon is gone or late.
until_true() {
  local what="$1" deadline=$((SECONDS + started_at))
  shift
  until "$@"; do
    kill -0 "$daemon" 2>/dev/null || { echo "The daemon ended before $what." >&2 && exit 1; }
    [ "$SECONDS" -lt "$deadline" ] || { echo "No $what within $started_at s." >&2 && exit 1; }
    sleep 0.05
  done
}

say "1. What this machine lacks"
deploy/install-deps.sh run
# shellcheck source=deploy/environment.sh
. deploy/environment.sh

say "2. Building vecgridd and vecgrid"
if ! [ -x "$CARGO_TARGET_DIR/release/vecgridd" ]; then
  echo "The first build takes about 15 to 30 minutes on 2 cores, most of it for RocksDB. Later ones take seconds to minutes."
fi
echo "It goes to $CARGO_TARGET_DIR"
cargo build --locked --release -p vecgridd -p vecgrid-client
vecgridd="$CARGO_TARGET_DIR/release/vecgridd"
vecgrid="$CARGO_TARGET_DIR/release/vecgrid"

say "3. Starting a daemon of one member, with temporary data"
# Port 0: free ports of the system's choice, so that this never collides with a daemon of yours.
command=("$vecgridd" --dev --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --socket "$socket" --port-file "$work/ports.json")
if $keep; then
  # A session of its own, so that closing the terminal does not stop it.
  setsid "${command[@]}" </dev/null >"$work/log" 2>&1 &
else
  "${command[@]}" </dev/null >"$work/log" 2>&1 &
fi
daemon=$!
until_true "its ports were open" test -s "$work/ports.json"
until_true "it was ready" curl --silent --fail --output /dev/null --unix-socket "$socket" http://localhost/readyz
api=$(jq --raw-output .api "$work/ports.json")
echo "It listens on the Unix socket $socket and on http://$api (gRPC and REST on both)"

say "4. Importing 8,000 glosses with their embeddings"
"$vecgrid" --endpoint "unix:$socket" import wordnet "$sample/wordnet_8k.f16.npy" \
  --metadata "$sample/wordnet_8k.jsonl" --id-field id --create --metric cosine

say "5. Three searches, each with the embedding of a gloss that was not imported"
for number in 0 1 2; do
  search=$(jq ".[$number]" "$sample/quickstart.json")
  vector=$sample/$(jq --raw-output .vector_file <<<"$search")
  printf '\n  What is nearest to\n    "%s"' "$(jq --raw-output .say <<<"$search")"
  jq --raw-output 'if .filter then "\n  among the entries where \(.filter | tojson)?" else "?" end' <<<"$search"
  jq --slurpfile vector "$vector" '{vector: $vector[0], k: 5} + (if .filter then {filter} else {} end)' <<<"$search" |
    curl --silent --show-error --fail-with-body --unix-socket "$socket" --json @- \
      http://localhost/v1/collections/wordnet/search >"$work/answer.json" || { cat "$work/answer.json" && exit 1; }
  # jq has no printf: three decimals by hand.
  jq --raw-output '
    def three: (. * 1000 | round) as $t | "\($t / 1000 | floor).\("000\($t % 1000)"[-3:])";
    .hits[] | "    \(.distance | three)  \(.metadata.text)"' "$work/answer.json" | cut -c 1-110
  jq --exit-status '.hits | length == 5' "$work/answer.json" >/dev/null || { echo "That should have been 5 answers." >&2 && exit 1; }
done

finished=true
say "6. What to try next"
if $keep; then
  cat <<END
The daemon goes on, process $daemon. Its data and log are temporary; its files are in $work

  export VECGRID_ENDPOINT=unix:$socket PATH=$CARGO_TARGET_DIR/release:\$PATH
  vecgrid status
  vecgrid count wordnet --filter '{"domain":"noun.food"}'
  vecgrid search wordnet --vector-file $sample/quickstart_3.json --k 5 --filter '{"domain":"verb.weather"}'
  curl --unix-socket $socket http://localhost/v1/collections/wordnet
  curl http://$api/openapi.json
  kill $daemon && rm -r $work        # when you have seen enough
END
else
  cat <<END
  deploy/quickstart.sh --keep        the same, and leaves the daemon running for you to play with
  deploy/test.sh                     every test of the project
  README.md                          the REST verbs, the clients, the vecgrid command
  deploy/README.md                   systemd, Docker, Kubernetes
END
fi
