#!/bin/sh
# The installed core on other processors: 32-bit ARM and little-endian MIPS under qemu-user, with Debian's
# Python. Prints start-up times with and without compiled modules. They are 10 to 20 times those of this
# machine: compare them with each other, not with a router.
#
# usage: qemu.sh [WORKDIR]      needs root, mmdebstrap, qemu-user-static, and the network once for each root
set -eu

work="$(mkdir -p "${1:-build/qemu}" && cd "${1:-build/qemu}" && pwd)"
cd "$(dirname "$0")/.."
PYTHON="${PYTHON:-python3}"
SUITE=bookworm    # the last Debian with mipsel
PORT="${PORT:-15902}"
LEFT_OUT=77       # as automake's tests: neither passed nor failed

MEASURE='import subprocess, sys, time
at = time.monotonic()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print("%.2f s" % (time.monotonic() - at))
sys.exit(done.returncode)'

# Compile the standard library beforehand: a router has nothing else of it.
WARM='import sys
sys.path.insert(0, sys.argv[1])
import bridge.cli, bridge.commands.dump, bridge.commands.run, bridge.link.httpd, bridge.link.modbus_tcp
import bridge.sources.modbus, compileall'

RESIDENT='import runpy, sys
sys.argv = [sys.argv[1], "--version"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit:
    import bridge.commands.run, bridge.link.httpd, bridge.link.modbus_tcp, bridge.sources.modbus
for line in open("/proc/self/status"):
    if line.startswith("VmRSS"):
        print("resident with the modules of the daemon, qemu itself included:", line.split(None, 1)[1].strip())'

main() {
	lacking=''
	for tool in mmdebstrap qemu-arm-static qemu-mipsel-static; do
		command -v "$tool" >/dev/null || lacking="$lacking $tool"
	done
	if [ -n "$lacking" ]; then
		echo "qemu: left out, these are missing:$lacking (apt-get install mmdebstrap qemu-user-static)" >&2
		exit "$LEFT_OUT"
	fi
	"$PYTHON" -m firmware_targets stage >/dev/null
	"$PYTHON" -m bridge sim plant --scenario s3 --port "$PORT" >/dev/null &
	plant=$!
	trap 'kill "$plant" 2>/dev/null' EXIT
	# armel stands in where a mirror has no armhf
	try armhf arm || try armel arm
	try mipsel mipsel
}

try() {
	architecture="$1" qemu="qemu-$2-static" root="$work/$1"
	make_root || return 1
	cp -R build/openwrt/sigen-bridge/. "$root/"
	bridge="$root/usr/bin/sigen-bridge"
	say "$(run -S --version), $(run -S -c 'import sys; print(sys.byteorder, "endian,", sys.maxsize.bit_length() + 1, "bit")')"
	run -S -c "$WARM" "$root/usr/lib/sigen-bridge"
	find "$root/usr/lib/sigen-bridge" -name '*.pyc' -exec rm -f {} +
	measure without
	(cd "$root/usr/lib/sigen-bridge" && run -S -m compileall -q -f -i sigen-bridge.modules)
	measure with
	run -S -c "$RESIDENT" "$bridge" | while read -r line; do say "$line"; done
	run -S "$bridge" dump --host "127.0.0.1:$PORT" | tee "$work/$architecture.dump" | while read -r line; do say "$line"; done
	grep -q '^30284 ' "$work/$architecture.dump" || fail "the dump has no house load"
}

make_root() {
	[ ! -x "$root/usr/bin/python3" ] || return 0
	rm -rf "$root"
	mmdebstrap --variant=extract --architectures="$architecture" \
		--include=python3-minimal,libpython3-stdlib,libc6 "$SUITE" "$root" >"$work/$architecture.log" 2>&1 || {
		say "left out, the mirror has no usable $SUITE: $(grep -m1 '^E:' "$work/$architecture.log")"
		rm -rf "$root"
		return 1
	}
}

# -L finds the loader and the libraries, PYTHONHOME the modules: no chroot, no binfmt.
run() { PYTHONDONTWRITEBYTECODE='' PYTHONHOME="$root/usr" "$qemu" -L "$root" "$root/usr/bin/python3" "$@"; }

measure() {
	for words in --version "dump --host 127.0.0.1:$PORT"; do
		# shellcheck disable=SC2086
		spent="$("$PYTHON" -c "$MEASURE" env PYTHONHOME="$root/usr" "$qemu" -L "$root" "$root/usr/bin/python3" \
			-S "$bridge" $words)" || fail "$words failed"
		say "$spent  $words, $1 compiled modules"
	done
}

say() { echo "$architecture: $*"; }

fail() {
	say "$*" >&2
	exit 1
}

main
