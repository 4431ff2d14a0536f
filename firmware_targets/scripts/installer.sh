#!/bin/sh
# sigen-bridge @VERSION@: self-contained installer. Needs no network and no package manager.
# shellcheck disable=SC2015

set -u
umask 022
LC_ALL=C
export LC_ALL

VERSION='@VERSION@'
HEADER=@HEADER@
PAYLOAD_SHA256='@SHA256@'
PARTS='@PARTS@'
NEED_KIB='@NEED_KIB@'
# module of Python : package of the OpenWrt feed that holds it; then what RS485 and MQTT add
MODULES='@MODULES@'
MODULES_RS485='@MODULES_RS485@'
MODULES_MQTT='@MODULES_MQTT@'

EXIT_FAILED=1
EXIT_USAGE=2
LIBRARY=/usr/lib/sigen-bridge
KEPT=/etc/sigen-bridge/sigen-bridge.run
KEPT_PARTS=/etc/sigen-bridge/sigen-bridge.parts
ROUTER_CONFIG=/etc/config/sigen-bridge
COMPUTER_CONFIG=/etc/sigen-bridge/sigen-bridge.ini
RESTART_STEPS=/etc/systemd/system/sigen-bridge.service.d/restart-steps.conf
PYTHON="${PYTHON:-python3}"

root='' action=install yes=no chosen=sigen-bridge service=auto packages=no keep_config=no keep_installer=yes

usage() {
	cat <<-END
		sigen-bridge $VERSION installer: sh ${0##*/} [options]

		  --yes             ask nothing
		  --rs485           with RS485 (pymodbus, pyserial)
		  --cloud           with the cloud side
		  --mqtt            with MQTT (needs --cloud for what the Sigenergy cloud pushes)
		  --tools           with discover, doctor and serial probe
		  --control         with commands for the battery and for loads
		  --reserver        with the Modbus re-server for other programs
		  --web             with the status page, event stream and metrics
		  --all             with everything, simulators included
		  --packages        get missing Python packages by opkg, apk or apt first (needs internet)
		  --check           only say what is missing
		  --uninstall       remove everything, the configuration included
		  --keep-config     with --uninstall: leave the configuration
		  --no-keep         on a router, do not keep this installer in /etc/sigen-bridge
		  --root DIR        install below DIR and start nothing
		  --service KIND    procd, systemd or none instead of what is found
	END
}

say() { echo "sigen-bridge: $*"; }

fail() {
	echo "sigen-bridge: $*" >&2
	exit "$EXIT_FAILED"
}

wrong_use() {
	echo "sigen-bridge: $*; --help tells what there is" >&2
	exit "$EXIT_USAGE"
}

arguments() {
	while [ $# -gt 0 ]; do
		case "$1" in
		--root | --service)
			[ $# -gt 1 ] || wrong_use "$1: a value is missing behind it"
			case "$1" in --root) root="${2%/}" ;; *) service="$2" ;; esac
			[ -z "$root" ] || [ -d "$root" ] || wrong_use "--root $root: there is no such directory"
			shift
			;;
		--root=*) root="${1#*=}" && root="${root%/}" ;;
		--service=*) service="${1#*=}" ;;
		--yes | -y) yes=yes ;;
		--rs485) add_part sigen-bridge-rs485 ;;
		--cloud) add_part sigen-bridge-cloud ;;
		--mqtt) add_part sigen-bridge-mqtt ;;
		--tools) add_part sigen-bridge-tools ;;
		--control) add_part sigen-bridge-control ;;
		--reserver) add_part sigen-bridge-reserver ;;
		--web) add_part sigen-bridge-web ;;
		--all) chosen="$PARTS" ;;
		--packages) packages=yes ;;
		--check) action=check ;;
		--uninstall) action=uninstall ;;
		--keep-config) keep_config=yes ;;
		--no-keep) keep_installer=no ;;
		--help | -h) usage && exit 0 ;;
		*) wrong_use "unknown option $1" ;;
		esac
		shift
	done
	case "$service" in
	auto) service="$(find_service)" ;;
	procd | systemd | none) ;;
	*) wrong_use "--service $service: procd, systemd or none" ;;
	esac
	case "$root" in '' | /*) ;; *) root="$(pwd)/$root" ;; esac
	# An upgrade renews every part that is there, or that was there before a firmware update.
	for part in $PARTS; do
		if [ -f "$root$LIBRARY/$part.modules" ] || grep -qsxF "$part" "$root$KEPT_PARTS"; then
			add_part "$part"
		fi
	done
}

add_part() {
	case " $chosen " in *" $1 "*) ;; *) chosen="$chosen $1" ;; esac
}

find_service() {
	if [ -e "$root/etc/rc.common" ] || [ -e "$root/etc/openwrt_release" ] || [ -x "$root/sbin/procd" ]; then
		echo procd
	elif [ -d "$root/usr/lib/systemd" ] || [ -d "$root/lib/systemd" ]; then
		echo systemd
	elif [ -n "$root" ]; then
		echo procd # an empty directory: a router is what this installer is for
	else
		echo none
	fi
}

# ---- what the machine must have ---------------------------------------------------------------------------

feed_modules() {
	echo "$MODULES"
	case " $chosen " in *" sigen-bridge-rs485 "*) echo "$MODULES_RS485" ;; esac
	case " $chosen " in *" sigen-bridge-mqtt "*) echo "$MODULES_MQTT" ;; esac
}

# Print the feed packages whose modules this Python lacks, each once.
missing_packages() {
	for pair in $(feed_modules); do
		"$PYTHON" -c "import ${pair%%:*}" >/dev/null 2>&1 || echo "${pair#*:}"
	done | sort -u | tr '\n' ' '
}

# One start of Python tells the usual case, that nothing is missing; each more costs a second on a router.
nothing_missing() {
	"$PYTHON" -c "import $(feed_modules | tr ' ' '\n' | sed 's/:.*//' | tr '\n' ',' | sed 's/,$//')" >/dev/null 2>&1
}

how_to_get() {
	if command -v opkg >/dev/null 2>&1; then
		echo "opkg update && opkg install $*"
	elif command -v apk >/dev/null 2>&1; then
		echo "apk update && apk add $*"
	elif command -v apt-get >/dev/null 2>&1; then
		echo "apt-get update && apt-get install python3"
	else
		echo "install these packages: $*"
	fi
}

needed_python() {
	if ! command -v "$PYTHON" >/dev/null 2>&1; then
		echo python3-light
		feed_modules | tr ' ' '\n' | sed 's/.*://' | sort -u
	elif ! nothing_missing; then
		missing_packages
	fi
}

# Where only apk is, python3-urllib brings email: as a dependency, or (newest) within itself.
lacking_packages() {
	if command -v opkg >/dev/null 2>&1 || ! command -v apk >/dev/null 2>&1; then
		needed_python
	else
		needed_python | sed 's/python3-email/python3-urllib/'
	fi | tr -s '\n ' '  ' | sed 's/ *$//'
}

check_python() {
	lacking="$(lacking_packages)"
	if [ -n "$lacking" ] && [ "$packages" = yes ] && [ -z "$root" ]; then
		say "getting $lacking"
		sh -c "$(how_to_get "$lacking")" || fail "the package manager failed; is there internet?"
		lacking="$(lacking_packages)"
	fi
	[ -z "$lacking" ] ||
		fail "these Python packages are missing: $lacking. Get them: $(how_to_get "$lacking") (or add --packages here)"
	"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 9))' ||
		fail "$("$PYTHON" --version 2>&1) is too old: Python 3.9 or later is needed (OpenWrt 21.02 or later)"
}

check_space() {
	need=0
	for row in $NEED_KIB; do
		case " $chosen " in *" ${row%%:*} "*) need=$((need + ${row#*:})) ;; esac
	done
	place="$root/usr/lib"
	while [ ! -d "$place" ]; do place="${place%/*}"; done
	free="$(df -P -k "${place:-/}" | awk 'END { print $4 }')"
	case "$free" in '' | *[!0-9]*) return 0 ;; esac
	[ "$free" -ge "$need" ] || fail "$need KiB are needed in ${place:-/}, $free KiB are free; use extroot or a USB stick"
}

# ---- installing -------------------------------------------------------------------------------------------

confirm() {
	[ "$yes" = yes ] && return 0
	[ -t 0 ] || wrong_use "no terminal to ask on: give --yes"
	printf '%s [y/N] ' "$1"
	read -r answer
	case "$answer" in y | Y | yes) ;; *) fail "nothing was changed" ;; esac
}

unpack() {
	work="$(mktemp -d "${TMPDIR:-/tmp}/sigen-bridge.XXXXXX")" || fail "no temporary directory could be made"
	trap 'rm -rf "$work"' EXIT
	trap 'exit 130' INT TERM
	dd if="$0" of="$work/payload.tar" bs="$HEADER" skip=1 2>/dev/null
	if command -v sha256sum >/dev/null 2>&1; then
		sum="$(sha256sum <"$work/payload.tar")"
		[ "${sum%% *}" = "$PAYLOAD_SHA256" ] || fail "this file is damaged (checksum); download it again, in binary mode"
	fi
	mkdir "$work/files"
	tar -xf "$work/payload.tar" -C "$work" || fail "this file is damaged; download it again"
	for part in $chosen; do
		gzip -dc "$work/$part.tar.gz" | tar -xf - -C "$work/files" || fail "unpacking $part failed"
	done
	if [ "$service" != none ]; then
		gzip -dc "$work/$service.tar.gz" | tar -xf - -C "$work/files" || fail "unpacking $service failed"
	fi
}

# Put the files in place one by one: a file in use keeps its old content until it is closed.
install_files() {
	(cd "$work/files" && find . -type f) | sed 's/^\.//' | sort >"$work/manifest"
	remove_obsolete
	while read -r file; do
		case "$file" in
		"$ROUTER_CONFIG" | "$COMPUTER_CONFIG") [ ! -e "$root$file" ] || continue ;;
		esac
		mkdir -p "$root${file%/*}"
		cp -p "$work/files$file" "$root$file.new" && mv -f "$root$file.new" "$root$file" ||
			fail "writing $root$file failed; run this again when there is space"
	done <"$work/manifest"
	cp "$work/manifest" "$root$LIBRARY/manifest"
	launcher_python
}

# What an older version installed and this one does not.
remove_obsolete() {
	[ -f "$root$LIBRARY/manifest" ] || return 0
	remove_compiled
	while read -r file; do
		grep -qxF -- "$file" "$work/manifest" || remove_file "$file"
	done <"$root$LIBRARY/manifest"
}

# Where Python is not /usr/bin/python3 (Entware), the launcher has to name it.
launcher_python() {
	found="$(command -v "$PYTHON")"
	[ "$found" = /usr/bin/python3 ] || [ -e /usr/bin/python3 ] || [ -n "$root" ] ||
		sed -i "1s|.*|#!$found|" "$root/usr/bin/sigen-bridge"
}

compile() {
	for part in $chosen; do
		PYTHON="$PYTHON" sh "$root$LIBRARY/bytecode" compile "$part"
	done
}

remove_compiled() {
	for part in $PARTS; do
		[ ! -f "$root$LIBRARY/$part.compiled" ] || sh "$root$LIBRARY/bytecode" remove "$part"
	done
}

remove_file() {
	case "$1" in
	"$ROUTER_CONFIG" | "$COMPUTER_CONFIG") [ "$keep_config" = no ] && [ "$action" = uninstall ] || return 0 ;;
	esac
	rm -f "$root$1"
	folder="${1%/*}"
	while [ -n "$folder" ]; do
		rmdir "$root$folder" 2>/dev/null || break
		folder="${folder%/*}"
	done
}

# A GL.iNet firmware update drops what was installed but keeps /etc/sigen-bridge: this file brings it back.
keep_installer() {
	[ "$service" = procd ] && [ "$keep_installer" = yes ] || return 0
	mkdir -p "$root${KEPT%/*}"
	cmp -s "$0" "$root$KEPT" || cp "$0" "$root$KEPT"
	echo "$chosen" | tr ' ' '\n' >"$root$KEPT_PARTS"
	say "after a firmware update, this one command brings the bridge back: sh $KEPT --yes --packages"
}

start_service() {
	[ -z "$root" ] || return 0
	case "$service" in
	procd)
		/etc/init.d/sigen-bridge enable
		/etc/init.d/sigen-bridge restart
		;;
	systemd)
		command -v systemd-sysusers >/dev/null 2>&1 && systemd-sysusers sigen-bridge.conf
		command -v systemd-tmpfiles >/dev/null 2>&1 && systemd-tmpfiles --create sigen-bridge.conf
		if [ -d /run/systemd/system ]; then
			longer_waits
			systemctl daemon-reload
			systemctl try-restart sigen-bridge.service
		fi
		;;
	esac
}

# Waits between restarts that grow are known to systemd from version 254 on; older ones would complain.
longer_waits() {
	release="$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')"
	[ "${release:-0}" -ge 254 ] || return 0
	mkdir -p "${RESTART_STEPS%/*}"
	cp /usr/share/sigen-bridge/restart-steps.conf "$RESTART_STEPS"
	grep -qxF "$RESTART_STEPS" "$LIBRARY/manifest" || echo "$RESTART_STEPS" >>"$LIBRARY/manifest"
}

next_step() {
	[ -z "$root" ] || return 0
	case "$service" in
	procd)
		say "next: uci set sigen-bridge.modbus.host=ADDRESS; uci set sigen-bridge.shelly.host=ADDRESS;"
		say "      uci set sigen-bridge.main.enabled=1; uci commit sigen-bridge; reload_config"
		;;
	systemd) say "next: put the addresses into $COMPUTER_CONFIG, then: systemctl enable --now sigen-bridge" ;;
	none) say "next: sigen-bridge run --host ADDRESS --shelly-host ADDRESS" ;;
	esac
}

# ---- removing ---------------------------------------------------------------------------------------------

stop_service() {
	[ -z "$root" ] || return 0
	if [ -x /etc/init.d/sigen-bridge ]; then
		/etc/init.d/sigen-bridge stop
		/etc/init.d/sigen-bridge disable
	fi
	if [ -d /run/systemd/system ]; then
		systemctl disable --now sigen-bridge-tariff.timer sigen-bridge-loads.service sigen-bridge-enphase.service \
			sigen-bridge.service sigen-bridge-watch.timer >/dev/null 2>&1
	fi
}

uninstall() {
	[ -f "$root$LIBRARY/manifest" ] || fail "nothing to remove: $root$LIBRARY/manifest is not there"
	confirm "Remove sigen-bridge from ${root:-this machine}?"
	stop_service
	remove_compiled
	cp "$root$LIBRARY/manifest" "$root$LIBRARY/manifest.removing"
	while read -r file; do
		remove_file "$file"
	done <"$root$LIBRARY/manifest.removing"
	rm -f "$root$LIBRARY/manifest"
	remove_file "$LIBRARY/manifest.removing"
	remove_file "$KEPT"
	remove_file "$KEPT_PARTS"
	if [ "$keep_config" = no ]; then
		rm -rf "$root/etc/sigen-bridge" "$root/var/lib/sigen-bridge"
		rmdir "$root/etc" "$root/var/lib" "$root/var" 2>/dev/null
	fi
	for file in "$root$ROUTER_CONFIG"-*; do
		[ ! -f "$file" ] || say "left alone: $file"
	done
	[ -n "$root" ] || [ ! -d /run/systemd/system ] || systemctl daemon-reload
	say "removed"
}

main() {
	arguments "$@"
	if [ "$action" = uninstall ]; then
		uninstall
		return 0
	fi
	check_python
	check_space
	if [ "$action" = check ]; then
		say "everything is there for $chosen"
		return 0
	fi
	confirm "Install sigen-bridge $VERSION ($chosen) into ${root:-/}?"
	unpack
	install_files
	compile
	keep_installer
	start_service
	say "$VERSION is installed"
	next_step
}

main "$@"
exit $?
