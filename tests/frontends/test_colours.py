"""Whose colours come first: VS Code's widgets set a light set of JupyterLab's for all of a page, whatever its theme."""

from __future__ import annotations

import re

import pytest

from oblako_magic.frontends import render, topology
from oblako_magic.frontends.panel import bundle as panel
from oblako_magic.frontends.shell import bundle as shell

_JUPYTERLAB = re.compile(r"var\(--jp-")
_BEHIND = re.compile(r"(?:var\(--vscode-[\w-]+,\s*)+var\(--jp-")


def _tables() -> str:
    table = render.table_html(["Name"], [["web"]], below=["one"])
    card = render.pairs_html(render.html("web"), [("type", "t3.micro")])
    return "".join([table, card, render.WRONG, *render.COLOURS.values()])


@pytest.mark.parametrize(
    "style", [panel.style(), shell.style(), _tables(), topology._STYLE], ids=["panel", "shell", "tables", "map"]
)
def test_vs_code_s_come_before_jupyterlab_s(style: str) -> None:
    assert len(_JUPYTERLAB.findall(style)) == len(_BEHIND.findall(style)) > 0
