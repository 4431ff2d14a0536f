#!/bin/sh
# Stop and disable as every OpenWrt package does, then remove what the installation compiled.
package=@PACKAGE@
if [ -s "${IPKG_INSTROOT:-}/lib/functions.sh" ]; then
	# shellcheck source=/dev/null
	. "${IPKG_INSTROOT:-}/lib/functions.sh"
	default_prerm "$0" "$@"
fi
if [ -z "${IPKG_INSTROOT:-}" ]; then
	/bin/sh /usr/lib/sigen-bridge/bytecode remove "$package"
	# The tariff job's line in the crontab; the service writes it anew when it starts after an upgrade.
	case "$package" in
	sigen-bridge | sigen-bridge-cloud)
		if grep -qF "# sigen-bridge tariff" /etc/crontabs/root 2>/dev/null; then
			sed -i "/# sigen-bridge tariff/d" /etc/crontabs/root
			/etc/init.d/cron restart >/dev/null 2>&1
		fi
		;;
	esac
fi
exit 0
