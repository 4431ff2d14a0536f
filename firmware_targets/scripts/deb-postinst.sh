#!/bin/sh
# Make the user, protect the configuration, compile the modules, and restart a bridge that is running.
set -e
root="${DPKG_ROOT:-}"
packages='@PACKAGES@'
[ "$1" = configure ] || exit 0
previous="${2:-}"

steps="$root/etc/systemd/system/sigen-bridge.service.d/restart-steps.conf"

if [ -z "$root" ]; then
	if command -v systemd-sysusers >/dev/null 2>&1; then
		systemd-sysusers sigen-bridge.conf
	elif ! id sigen-bridge >/dev/null 2>&1; then
		useradd --system --home-dir /var/lib/sigen-bridge --shell /usr/sbin/nologin --groups dialout sigen-bridge
	fi
	if [ -f /etc/sigen-bridge/sigen-bridge.ini ]; then
		chgrp sigen-bridge /etc/sigen-bridge /etc/sigen-bridge/sigen-bridge.ini
		chmod 0750 /etc/sigen-bridge
		chmod 0640 /etc/sigen-bridge/sigen-bridge.ini
	fi
fi

for package in $packages; do
	sh "$root/usr/lib/sigen-bridge/bytecode" compile "$package"
done

# Waits between restarts that grow are known to systemd from version 254 on; older ones would complain.
if [ -z "$root" ] && command -v systemctl >/dev/null 2>&1; then
	release="$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')"
	if [ "${release:-0}" -ge 254 ] && [ ! -e "$steps" ]; then
		mkdir -p "${steps%/*}"
		cp /usr/share/sigen-bridge/restart-steps.conf "$steps"
	fi
fi

if [ -d /run/systemd/system ] && [ -z "$root" ]; then
	systemctl daemon-reload
	if [ -n "$previous" ]; then
		systemctl try-restart sigen-bridge.service sigen-bridge-loads.service sigen-bridge-enphase.service
	else
		echo "sigen-bridge: put the addresses into /etc/sigen-bridge/sigen-bridge.ini, then:"
		echo "    sudo systemctl enable --now sigen-bridge"
	fi
fi
exit 0
