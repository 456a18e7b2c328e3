"""``python -m oblako_magic.controlplane``: the control plane in the foreground of its own process."""

from __future__ import annotations

import sys

from .server import main

if __name__ == "__main__":
    sys.exit(main())
