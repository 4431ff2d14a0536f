#!/bin/sh
# Stop the services before their program goes, and remove what the installation compiled.
set -e
root="${DPKG_ROOT:-}"
packages='@PACKAGES@'

if [ "$1" = remove ] && [ -d /run/systemd/system ] && [ -z "$root" ]; then
	systemctl disable --now sigen-bridge-tariff.timer sigen-bridge-loads.service sigen-bridge-enphase.service \
		sigen-bridge.service sigen-bridge-watch.timer >/dev/null 2>&1 || true
fi
for package in $packages; do
	sh "$root/usr/lib/sigen-bridge/bytecode" remove "$package"
done
exit 0
