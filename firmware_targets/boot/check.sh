#!/bin/sh
# Runs inside the booted root, as a service of its own: what systemd really makes of the units.
# Writes one line a check to /result and switches the machine off.

set -u
UNIT=sigen-bridge.service
CONFIG=/etc/sigen-bridge/sigen-bridge.ini
bad=0

show() { systemctl show --value -p "$1" "$UNIT"; }

check() {
	text="$1"
	shift
	if "$@"; then
		echo "ok    $text" >>/result
	else
		echo "FAIL  $text" >>/result
		bad=$((bad + 1))
	fi
}

# within SECONDS COMMAND...: wait until the command succeeds
within() {
	left=$(($1 * 5))
	shift
	until "$@" >/dev/null 2>&1; do
		left=$((left - 1))
		[ "$left" -gt 0 ] || return 1
		sleep 0.2
	done
}

active() { [ "$(show ActiveState)" = active ]; }
failed() { [ "$(show ActiveState)" = failed ]; }
renewed() { active && [ "$(show MainPID)" != "$1" ]; }
no_process() { ! stat -c %U /proc/[0-9]* 2>/dev/null | grep -qx sigen-bridge; }
has_process() { ! no_process; }
reads() { sigen-bridge status --json | grep -q '"valid": *true'; }
logged() { journalctl --sync; journalctl -u "$UNIT" -o cat | grep -q "$1"; }
no_complaint() { ! journalctl -b -o cat | grep -E "sigen-bridge.*(Unknown|[Ff]ailed to parse|ignoring)"; }
owner_is() { [ "$(stat -c %U "$2")" = "$1" ]; }
mode_is() { [ "$(stat -c %a "$2")" = "$1" ]; }
count_is() { [ "$(show NRestarts)" = "$1" ]; }

first_boot() {
	check "start: the unit becomes active by READY=1" within 30 active
	check "start: readings come" within 15 reads
	main="$(show MainPID)"
	check "start: a process of the user is found (so that none, later, means something)" has_process
	check "start: the process belongs to sigen-bridge" owner_is sigen-bridge "/proc/$main"
	check "start: the state directory is private" mode_is 700 /var/lib/sigen-bridge
	check "start: the configuration is for root and the service only" mode_is 640 "$CONFIG"

	kill -9 "$main"
	check "kill -9: a new process takes over" within 30 renewed "$main"
	check "kill -9: readings come again" within 15 reads

	main="$(show MainPID)"
	kill -STOP "$main"
	check "SIGSTOP: the watchdog notices and a new process takes over" within 60 renewed "$main"
	check "SIGSTOP: it was the watchdog" logged "Watchdog timeout"
	check "two restarts were counted" count_is 2

	started="$(date +%s)"
	systemctl stop "$UNIT"
	took=$(($(date +%s) - started))
	check "stop: within 10 s ($took s)" [ "$took" -le 10 ]
	check "stop: no process is left" no_process
	check "stop: a clean end" [ "$(show Result)" = success ]

	cp "$CONFIG" /root/good.ini
	echo "[modbus]
port = 70000" >"$CONFIG"
	systemctl start "$UNIT" 2>/dev/null
	check "wrong settings: the unit fails" within 15 failed
	sleep 7
	check "wrong settings: and is not started again" failed
	check "wrong settings: the reason is logged" logged "modbus.port"
	cat /root/good.ini >"$CONFIG"
	systemctl reset-failed "$UNIT"
	systemctl start "$UNIT"
	check "right settings: it starts again" within 30 active
	battery
	check "systemd has nothing to complain about" no_complaint
	check "no module was compiled at run time" [ "$(find /usr/lib/sigen-bridge -newer /root/good.ini -name '*.pyc' | wc -l)" = 0 ]
}

commanded() { sigen-bridge dump 40029 --direct --json --status-listen off | grep -q '"value": *1'; }
released() { ! commanded; }
no_lease() { [ ! -e /var/lib/sigen-bridge/lease.json ]; }
charge() { sigen-bridge battery charge --kw 1 --for 10m >/dev/null; }
as_service() { runuser -u sigen-bridge -- env STATE_DIRECTORY=/var/lib/sigen-bridge "$@"; }

# A battery command ends, whichever way its process does.
battery() {
	printf '[control]\nenabled = yes\n[status]\ntoken = sesame\n' >>"$CONFIG"
	systemctl restart "$UNIT"
	within 15 reads
	check "battery: the running service takes a command" charge
	check "battery: the plant is commanded" commanded
	main="$(show MainPID)"
	kill -9 "$main"
	check "battery, kill -9: given back by ExecStopPost or the next start" within 20 released
	check "battery, kill -9: the lease is closed" within 20 no_lease
	within 30 renewed "$main"
	within 15 reads
	check "battery: a second command" charge
	systemctl stop "$UNIT"
	check "battery, stop: given back" released

	as_service sigen-bridge battery charge --kw 1 --for 10m >/dev/null 2>&1 &
	within 20 commanded
	check "battery: a command held in the foreground, the service being down" commanded
	pkill -9 -f "battery charge"
	check "battery: the watch gives it back while the service is down" within 30 released
	check "battery: and closes the lease" within 5 no_lease
	cat /root/good.ini >"$CONFIG"
	systemctl start "$UNIT"
	within 30 active
}

second_boot() {
	check "reboot: the unit is active again" within 30 active
	check "reboot: readings come" within 15 reads
}

if [ ! -e /root/good.ini ]; then first_boot; else second_boot; fi
[ "$bad" -eq 0 ] || journalctl -u "$UNIT" -o short-monotonic --no-pager | tail -40 >>/result
echo "end" >>/result
systemctl poweroff
