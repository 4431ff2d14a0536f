#!/bin/sh
# Every shell script of the project through shellcheck.
set -eu
cd "$(dirname "$0")/.."
files=$(git ls-files '*.sh' init/procd 2>/dev/null || find tests init firmware_targets -type f -name '*.sh')
found=
for file in $files; do
    head -n 1 "$file" | grep -q '^#!.*sh' && found="$found $file"
done
[ -n "$found" ] || { echo "no shell scripts found"; exit 1; }
# shellcheck disable=SC2086  # the list is meant to be split
shellcheck -s sh -e SC2034,SC2154,SC1008 $found
shellcheck .ci/run
echo "shellcheck: $(echo "$found" | wc -w) scripts are clean"
