"""The browser's side as one text: xterm.js as it was published and our own module, joined without a build."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_LIBRARIES = (("xterm.mjs", "Terminal"), ("addon-fit.mjs", "FitAddon"))
"""Files of ``static/vendor/`` and the one name that each exports; ``docs/dependencies.md`` has their versions."""


def _read(name: str) -> str:
    return (files(__package__) / "static" / name).read_text(encoding="utf-8")


def _library(name: str, exported: str) -> str:
    """An ES module as the value of its export: each in a function of its own, their short names are the same."""
    text = re.sub(r"^//# sourceMappingURL=.*$", "", _read(f"vendor/{name}"), flags=re.MULTILINE)
    body, found = re.subn(r"export\{(\w+) as " + exported + r"\};?\s*$", r"return \1;", text)
    if found != 1:
        raise AssertionError(f"{name} does not export {exported}")
    return f"const {exported} = (() => {{\n{body}\n}})();"


@cache
def script() -> str:
    """The module that the browser loads."""
    return "\n".join([*(_library(*one) for one in _LIBRARIES), _read("shell.js")])


@cache
def style() -> str:
    """Its style sheet."""
    return f"{_read('vendor/xterm.css')}\n{_read('shell.css')}"
