"""The project's own papers agree with each other."""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import requires, version
from pathlib import Path

import oblako_magic

ROOT = Path(__file__).resolve().parent.parent


def _dependencies() -> set[str]:
    return {re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0].lower() for line in requires("oblako-magic") or []}


def test_every_dependency_says_why() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text()
    named = {name.strip() for row in re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE) for name in row.split(",")}
    assert _dependencies() - named == set()


def test_every_dependency_has_both_bounds() -> None:
    unbounded = [line for line in requires("oblako-magic") or [] if not (">=" in line and "<" in line)]
    assert unbounded == []


def test_installed_version_is_the_package_s() -> None:
    assert version("oblako-magic") == oblako_magic.__version__


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    assert set(re.findall(r"^  make ([a-z-]+)", shown, re.MULTILINE)) == set(phony[1].split())


def test_decisions_are_numbered_and_whole() -> None:
    files = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [int(path.name[:4]) for path in files] == list(range(1, len(files) + 1))
    for path in files:
        text = path.read_text()
        assert text.startswith(f"# {int(path.name[:4])}. "), path.name
        assert all(f"\n## {part}\n" in text for part in ("Context", "Decision", "Consequences")), path.name
        assert re.search(r"^Status: (proposed|accepted|superseded by \d{4})$", text, re.MULTILINE), path.name
