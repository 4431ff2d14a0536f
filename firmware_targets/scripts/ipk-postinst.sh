#!/bin/sh
# Compile the modules for this router's Python, then what every OpenWrt package does: enable and start.
package=@PACKAGE@
[ "${IPKG_NO_SCRIPT:-}" = "1" ] && exit 0
if [ -z "${IPKG_INSTROOT:-}" ]; then
	/bin/sh /usr/lib/sigen-bridge/bytecode compile "$package"
fi
[ -s "${IPKG_INSTROOT:-}/lib/functions.sh" ] || exit 0
# shellcheck source=/dev/null
. "${IPKG_INSTROOT:-}/lib/functions.sh"
default_postinst "$0" "$@"
result=$?
# An added part takes effect when the bridge starts the next time: now.
if [ -z "${IPKG_INSTROOT:-}" ] && [ "$package" != sigen-bridge ]; then
	/etc/init.d/sigen-bridge restart >/dev/null 2>&1
fi
exit "$result"
