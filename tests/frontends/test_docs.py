"""Everything in the registry is documented, and docs/magics.md says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oblako_magic.frontends.docs import markdown
from oblako_magic.frontends.line import words
from oblako_magic.frontends.parser import help_text, overview_text, parse, split_tail
from oblako_magic.frontends.registry import ORDER, Command, commands

ALL = pytest.mark.parametrize("command", commands().values(), ids=list(commands()))


def test_the_subcommands_are_all_there() -> None:
    assert tuple(commands()) == ORDER


@ALL
def test_every_subcommand_argument_and_option_is_documented(command: Command) -> None:
    assert command.summary
    assert not command.summary.endswith(".")
    helps = [argument.help for argument in command.arguments] + [option.help for option in command.all_options]
    assert [text for text in helps if not text.endswith(".")] == []
    text = help_text(command)
    for option in command.all_options:
        assert all(flag in text for flag in option.flags)
    for argument in command.arguments:
        assert argument.name in text
    assert (command.group or command.name) in overview_text()


@ALL
def test_every_subcommand_has_examples_that_parse(command: Command) -> None:
    assert command.examples
    for example in command.examples:
        assert example.says.endswith(".")
        line = re.sub(r"^(\w+ = )?%{1,2}ec2 ", "", example.line)
        name = command.name.split()
        found = [word.text for word in words(line)]
        assert found[: len(name)] == name
        rest = found[len(name) :]
        parse(command, rest[: split_tail(command, rest)[0]] if command.tail else rest)
        assert bool(example.body) == example.line.startswith("%%")
    assert not command.cell or any(example.body for example in command.examples)


def test_the_page_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "magics.md"
    assert page.read_text(encoding="utf-8") == markdown(), "run: python -m oblako_magic.frontends.docs > docs/magics.md"
