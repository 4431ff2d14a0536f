#!/bin/sh
# Removal keeps the configuration and the state; "purge" takes them away, and the user with them.
set -e
root="${DPKG_ROOT:-}"

if [ "$1" = remove ] || [ "$1" = purge ]; then
	rm -f "$root/etc/systemd/system/sigen-bridge.service.d/restart-steps.conf"
	rmdir "$root/etc/systemd/system/sigen-bridge.service.d" 2>/dev/null || true
fi
if [ "$1" = purge ]; then
	rm -rf "$root/var/lib/sigen-bridge" "$root/etc/sigen-bridge"
	if [ -z "$root" ] && id sigen-bridge >/dev/null 2>&1; then
		userdel sigen-bridge >/dev/null 2>&1 || true
	fi
fi
if [ -d /run/systemd/system ] && [ -z "$root" ]; then
	systemctl daemon-reload || true
fi
exit 0
