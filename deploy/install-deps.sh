#!/usr/bin/env bash
# Installs what a bare Debian 12 with a Rust toolchain lacks, and nothing that is there already.
#
#   deploy/install-deps.sh [run] [test] [lint] [peers] [neon]     default: run
#
#   run     build the daemon and try it out     test    the Python client's tests, and those in networks of their own
#   lint    the shell linter too                peers   the benchmark of other indexes too
#   neon    an emulator of 64-bit ARM, and a linker for it
#
# As root, or with sudo. On other systems it only says what is missing.
set -euo pipefail

# What each is for: libclang-dev — bindgen reads RocksDB's header; g++ — RocksDB itself, in C++;
# ca-certificates — cargo and pip download over TLS; curl and jq — the quickstart speaks REST;
# python3-venv — a home for the Python client's tests; iproute2 and nftables — tests that put members into networks of
# their own and cut them.
# No protoc: the proto files are compiled by a Rust crate.
packages=(libclang-dev g++ make curl ca-certificates jq)
for set in "${@:-run}"; do
  case "$set" in
    run) ;;
    test) packages+=(python3 python3-venv iproute2 nftables) ;;
    lint) packages+=(shellcheck) ;;
    neon) packages+=(qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross) ;;
    # One peer comes as C++ source for Python.
    peers) packages+=(python3 python3-venv python3-dev) ;;
    *) echo "usage: $0 [run] [test] [lint] [peers] [neon]" >&2 && exit 2 ;;
  esac
done

if ! command -v cargo >/dev/null && ! [ -x "$HOME/.cargo/bin/cargo" ]; then
  echo "There is no cargo here. Install Rust 1.91 or later (rustup does; Debian 12's own is too old), then run this again." >&2
  exit 1
fi

if ! command -v apt-get >/dev/null; then
  echo "This is no Debian: make sure that the counterparts of these are installed: ${packages[*]}" >&2
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  # "ok installed" and not just known to dpkg.
  state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "These packages are missing, and without root or sudo they cannot be installed: ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "Installing: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" </dev/null >>"$log" 2>&1 || {
    echo "apt-get $1 failed:" >&2
    tail -n 30 "$log" >&2
    exit 1
  }
}
apt update
apt install --yes --no-install-recommends "${missing[@]}"
