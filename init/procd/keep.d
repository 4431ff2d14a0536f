/etc/config/sigen-bridge*
/etc/sigen-bridge/
