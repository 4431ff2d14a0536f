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
fi
exit 0
