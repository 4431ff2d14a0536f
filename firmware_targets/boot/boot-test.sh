#!/bin/sh
# The .deb on a real systemd: a Debian root, booted twice by systemd-nspawn, with a simulated plant in it.
#
# usage: boot-test.sh [WORKDIR]      needs root, mmdebstrap, systemd-nspawn, and the network once
set -eu

work="$(mkdir -p "${1:-build/boot}" && cd "${1:-build/boot}" && pwd)"
here="$(cd "$(dirname "$0")" && pwd)"
cd "$here/../.."
PYTHON="${PYTHON:-python3}"
SUITE="${SUITE:-bookworm}"
BOOT_TIMEOUT_S=240 # all checks of the first boot take some 60 s
LEFT_OUT=77        # as automake's tests: neither passed nor failed
clean="$work/$SUITE-2" root="$work/root"

left_out() {
	echo "boot-test: left out: $*" >&2
	exit "$LEFT_OUT"
}

for tool in mmdebstrap systemd-nspawn; do
	command -v "$tool" >/dev/null || left_out "$tool is missing (apt-get install mmdebstrap systemd-container)"
done
[ "$(id -u)" = 0 ] || left_out "only root may boot a system"

if [ ! -x "$clean/usr/bin/python3" ]; then
	rm -rf "$clean"
	mmdebstrap --variant=apt --include=systemd,systemd-sysv,dbus,python3,procps "$SUITE" "$clean" >"$work/mmdebstrap.log" 2>&1 ||
		left_out "no $SUITE root could be made: $(grep -m1 '^E:' "$work/mmdebstrap.log")"
fi
rm -rf "$root"
cp -a "$clean" "$root"
rm -rf "$root/root" && mkdir -m 700 "$root/root"

"$PYTHON" -m firmware_targets packages --out "$work/dist" >/dev/null
cp "$work/dist"/sigen-bridge_*_all.deb "$root/root/sigen-bridge.deb"
chroot "$root" dpkg --install /root/sigen-bridge.deb >"$work/dpkg.log" 2>&1 || {
	cat "$work/dpkg.log"
	exit 1
}

printf '[modbus]\nhost = 127.0.0.1:1502\n' >>"$root/etc/sigen-bridge/sigen-bridge.ini"
mkdir -p "$root/etc/systemd/system/sigen-bridge.service.d"
printf '[Service]\nWatchdogSec=6\nRestartSec=1\n' >"$root/etc/systemd/system/sigen-bridge.service.d/test.conf"
cat >"$root/etc/systemd/system/plant.service" <<-'END'
	[Service]
	ExecStart=/usr/bin/sigen-bridge sim plant --scenario steady --port 1502
	Environment=HOME=/root
	[Install]
	WantedBy=multi-user.target
END
cat >"$root/etc/systemd/system/check.service" <<-'END'
	[Unit]
	After=multi-user.target
	[Service]
	ExecStart=/bin/sh /root/check.sh
	[Install]
	WantedBy=graphical.target multi-user.target
END
cp "$here/check.sh" "$root/root/check.sh"
systemctl --root="$root" enable --quiet plant.service check.service sigen-bridge.service 2>"$work/enable.log"

failed=0
for boot in first second; do
	rm -f "$root/result"
	timeout "$BOOT_TIMEOUT_S" systemd-nspawn --quiet --register=no --keep-unit --private-network --directory="$root" \
		--boot systemd.unit=multi-user.target </dev/null >"$work/$boot.log" 2>&1 || true
	if [ ! -e "$root/result" ]; then
		[ "$boot" = second ] || left_out "systemd-nspawn does not boot here: $(tail -1 "$work/$boot.log")"
		echo "FAIL  the second boot gave no result"
		failed=1
		continue
	fi
	echo "$boot boot, systemd $(chroot "$root" systemctl --version | sed -n '1s/^systemd //p'):"
	sed 's/^/  /' "$root/result"
	if grep -q '^FAIL' "$root/result" || ! grep -q '^end$' "$root/result"; then failed=1; fi
done
exit "$failed"
