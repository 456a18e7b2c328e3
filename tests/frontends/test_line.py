"""Words, quotes and placeholders."""

from __future__ import annotations

from typing import Any

import pytest
from IPython.core.error import UsageError

from oblako_magic.frontends.expand import Expander
from oblako_magic.frontends.line import take_semicolon, words
from tests.frontends.fake_ec2 import make_instance

NAMES: dict[str, Any] = {
    "x": "one two",
    "n": 3,
    "names": ["web", "data base"],
    "d": {"key": "value"},
    "machine": make_instance(id="i-77", state="running", name="web"),
    "exit": exit,
    "empty": [],
}


def split(line: str, **names: Any) -> list[str]:
    return [word.text for word in words(line, Expander({**NAMES, **names}))]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", []),
        ("  a  b ", ["a", "b"]),
        ("--name 'a b' \"c d\" e\\ f", ["--name", "a b", "c d", "e f"]),
        ("a''b \"\"", ["ab", ""]),
        ("C:\\temp\\x web:/x", ["C:\\temp\\x", "web:/x"]),
        ("--name {x}", ["--name", "one two"]),
        ("--name=$x", ["--name=one two"]),
        ("{n + 1}", ["4"]),
        ("{n:03d} {x!r}", ["003", "'one two'"]),
        ('{d["key"]} "{d["key"]}" {d[\'key\']}', ["value", "value", "value"]),
        ("stop {names}", ["stop", "web", "data base"]),
        ("stop {[m.upper() for m in names]}", ["stop", "WEB", "DATA BASE"]),
        ("stop {machine} $machine $machine.name $machine.txt", ["stop", "i-77", "i-77", "web", "i-77.txt"]),
        ("stop {empty}", ["stop"]),
        ("tag:{names}", ["tag:web data base"]),
        # What isn't a defined name stays.
        ("{undefined} $undefined cost$5 ${x} {}", ["{undefined}", "$undefined", "cost$5", "${x}", "{}"]),
        ("""'{"a": {"n": 1}}'""", ['{"a": {"n": 1}}']),
        ("'$x' '{n}'", ["$x", "3"]),
        ("{{n}} $$x", ["{n}", "$x"]),
        ("{{.Names}} {{undefined}}", ["{{.Names}}", "{{undefined}}"]),
        ("{exit} {exit()} $exit", ["{exit}", "{exit()}", "$exit"]),
        ("{print}", ["{print}"]),
    ],
)
def test_words(line: str, expected: list[str]) -> None:
    assert split(line) == expected


def test_what_is_wrong_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="isn't closed"):
        split("a 'b")
    with pytest.raises(UsageError, match="can't be expanded: KeyError"):
        split('{d["none"]}')


def test_semicolon() -> None:
    assert take_semicolon("ls ;  ") == ("ls", True)
    assert take_semicolon("ls") == ("ls", False)
    assert take_semicolon("find . -exec ls {} \\;")[1] is False


def test_local_names_of_a_function_expand(cell: Any, cloud: Any) -> None:
    cell("def f(inner):\n    %ec2 run --name {inner}\nf('from inside')")
    assert cloud.machines[0].name == "from inside"
