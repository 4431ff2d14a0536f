"""sigen-bridge: a Sigenergy plant on a Shelly, every second, from a router."""

__version__ = "0.1.0"
