"""``python -m oblako_magic`` is ``oblako``."""

import sys

from .frontends.cli import main

sys.exit(main())
