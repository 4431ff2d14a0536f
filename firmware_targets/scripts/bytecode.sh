#!/bin/sh
# bytecode compile PACKAGE | bytecode remove PACKAGE
# Compile the modules of an installed package beside their sources, and remove what was compiled.
# OpenWrt's Python never writes compiled modules by itself: without them each start takes 3 to 4 times
# as long. They cannot be shipped, because every Python version wants its own.

set -u
PYTHON="${PYTHON:-python3}"
cd "$(dirname -- "$0")" || exit 1
modules="$2.modules"
compiled="$2.compiled"

remove() {
	[ -f "$compiled" ] || return 0
	while read -r file; do
		rm -f -- "$file"
		rmdir -- "${file%/*}" 2>/dev/null
	done <"$compiled"
	rm -f -- "$compiled"
}

compile() {
	remove
	# A module that does not compile (or a full flash) costs speed only: go on.
	"$PYTHON" -m compileall -q -f -p /usr/lib/sigen-bridge -i "$modules" >/dev/null 2>&1 ||
		echo "sigen-bridge: not every module of $modules was compiled; starts take longer" >&2
	while read -r module; do
		name="${module##*/}"
		for file in "${module%/*}/__pycache__/${name%.py}".*.pyc; do
			[ -f "$file" ] && echo "$file"
		done
	done <"$modules" >"$compiled"
}

case "$1" in
compile) compile ;;
remove) remove ;;
*) exit 2 ;;
esac
exit 0
