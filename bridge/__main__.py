"""Run ``python3 -m bridge VERB``."""

import sys

from bridge.cli import main

if __name__ == "__main__":
    sys.exit(main())
