#!/usr/bin/env bash
# Runs the tests of the kernels for 64-bit ARM: under qemu, or as they are on such a machine.
#
#   deploy/test-neon.sh [--if-possible]
#
# Installs what is missing: qemu, a linker for ARM (Debian) and the target of the standard library (rustup). With
# --if-possible it says what could not be had and succeeds; tests that fail fail it always.
#
# Under qemu the processor is a Cortex-A57, an early one: an instruction that not every 64-bit ARM processor has
# is a crash. It shows that results are right. It says nothing about speed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/environment.sh
. deploy/environment.sh

target=aarch64-unknown-linux-gnu
tests=(cargo test --locked --release --package vecgridd-kernels)

case "$*" in
  "") left_out=1 ;;
  --if-possible) left_out=0 ;;
  *) echo "usage: $0 [--if-possible]" >&2 && exit 2 ;;
esac

leave_out() {
  echo "NEON kernels: NOT tested ($1)"
  exit "$left_out"
}

if [ "$(uname -m)" = aarch64 ]; then
  "${tests[@]}"
  echo "NEON kernels: tested on this machine itself"
  exit
fi

command -v rustup >/dev/null || leave_out "no rustup here, which installs the standard library for ARM"
command -v apt-get >/dev/null || leave_out "no Debian here: qemu-aarch64 and a linker for ARM come from its packages"
rustup target add "$target" || leave_out "rustup could not add $target"
deploy/install-deps.sh neon || leave_out "qemu or the linker could not be installed"

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu cortex-a57"
"${tests[@]}" --target "$target"
echo "NEON kernels: tested under $(qemu-aarch64 --version | head -n 1), as a Cortex-A57"
