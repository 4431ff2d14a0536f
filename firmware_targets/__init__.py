"""What the bridge runs on, one descriptor a target, and the packages for it; build-time only."""
