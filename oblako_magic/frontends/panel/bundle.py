"""The browser's side as one text: the modules of ``static/``, joined without a build.

Each file is an ES module that can be read and checked by itself; joined, their ``import`` lines are left out and
``export`` becomes nothing, but for the last one's default.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

MODULES = (
    "dom", "store", "columns", "rows", "table", "head", "toolbar", "dialogs", "launch", "drawer", "panel",
)  # fmt: skip
"""In the order in which they need each other."""
_IMPORT = re.compile(r'^import [^;]*? from "\./[a-z]+\.js";\n', re.MULTILINE | re.DOTALL)
_EXPORT = re.compile(r"^export (?!default)", re.MULTILINE)


def _read(name: str) -> str:
    return (files(__package__) / "static" / name).read_text(encoding="utf-8")


@cache
def script() -> str:
    """The module that the browser loads."""
    parts = [_EXPORT.sub("", _IMPORT.sub("", _read(f"{name}.js"))) for name in MODULES]
    return "\n".join(parts)


@cache
def style() -> str:
    """Its style sheet."""
    return _read("panel.css")
