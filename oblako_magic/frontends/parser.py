"""From the registry to parsed arguments and help texts. Pure; no I/O."""

from __future__ import annotations

import argparse
import difflib
import keyword
import textwrap
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NoReturn

from IPython.core.error import UsageError

from ..model import parse_publish
from .registry import GROUPS, Command, Group, Option, commands, members, overview_rows

MAGIC = "%ec2"


class HelpRequested(Exception):
    """``--help`` stood on the line; carries the text."""


class _Parser(argparse.ArgumentParser):
    """Raises instead of ending the kernel; IPython's own is not typed and takes no ``allow_abbrev``."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


class _ShowHelp(argparse.Action):
    """Ends parsing at once, so that missing arguments don't hide the help."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        raise HelpRequested


# -- values ------------------------------------------------------------------------------------------------


def pair(text: str) -> tuple[str, str]:
    """``K=V``."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def whole(low: int, high: int) -> Any:
    """A whole number within bounds."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return number

    return read


def seconds(text: str) -> float:
    """A time such as ``90``, ``1.5``, ``90s``, ``2m`` or ``1h``, in seconds."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in {"s", "m", "h"} else (text, "s")
    try:
        value = float(number) * {"s": 1, "m": 60, "h": 3600}[unit]
    except ValueError:
        value = 0.0
    if not 0 < value <= 7 * 86400:
        raise ArgumentTypeError(f"{text!r} is not a time; give seconds, or 2m, or 1h")
    return value


def publish(text: str) -> str:
    """``[HOST:]PORT``, checked and handed on as it is."""
    try:
        mappings = parse_publish(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error).rstrip(".")) from None
    if not mappings:
        raise ArgumentTypeError("give PORT or HOST_PORT:PORT, such as 8888 or 8080:80")
    return text


def variable(text: str) -> str:
    """The name of a Python variable."""
    if not text.isidentifier() or keyword.iskeyword(text):
        raise ArgumentTypeError(f"{text!r} is not the name of a variable")
    return text


# -- parsing -----------------------------------------------------------------------------------------------


def find_command(
    name: str, prefix: str = MAGIC, known: Mapping[str, Command] | None = None, more: Iterator[str] | None = None
) -> Command:
    """The subcommand of that name; among all of the registry unless told otherwise.

    Parameters
    ----------
    name, prefix, known
    more : iterator of str, optional
        The words after the name: where it is a group's, the next one is taken.

    Raises
    ------
    UsageError
        Where there is none; names the nearest.
    HelpRequested
        For a group's ``--help``.
    """
    known = commands() if known is None else known
    if name in GROUPS and members(name, known):
        inner = members(name, known)
        second = next(more or iter(()), GROUPS[name].default)
        if second in {"--help", "-h", "help"}:
            raise HelpRequested(group_text(GROUPS[name], inner, prefix))
        name, prefix, known = second, f"{prefix} {name}", inner
    else:
        known = {word: command for word, command in known.items() if not command.group}
    if name in known:
        return known[name]
    words = [*known, *GROUPS] if " " not in prefix else [*known]
    near = difflib.get_close_matches(name, words, 1)
    guess = f"did you mean {near[0]}?" if near else f"there are {', '.join(words)}."
    raise UsageError(f"{prefix} has no subcommand {_short(name)!r}; {guess}")


def parse(command: Command, words: Sequence[str], prefix: str = MAGIC) -> Namespace:
    """Parse the words after the subcommand's name.

    Raises
    ------
    UsageError
        One sentence and where to look.
    HelpRequested
        For ``--help``.
    """
    hint = f"({prefix} {command.name} --help shows how)"
    try:
        # parse_intermixed_args lets options stand between targets; argparse alone takes only the first run.
        args, rest = _parser(command).parse_known_intermixed_args(list(words))
    except UsageError as error:
        message = " ".join(str(error).replace("argument ", "", 1).split())
        raise UsageError(f"{command.name}: {_short(message, 300)} {hint}") from None
    except HelpRequested:
        raise HelpRequested(help_text(command, prefix)) from None
    if rest:
        flags = [flag for option in command.all_options for flag in option.flags]
        near = difflib.get_close_matches(rest[0].partition("=")[0], flags, 1) if rest[0].startswith("-") else []
        guess = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"{command.name}: {_short(rest[0])!r} is one too many{guess} {hint}")
    return args


@cache
def _parser(command: Command) -> _Parser:
    # The usage is set because argparse would try to wrap one, and fails on metavars such as [HOST:]PORT.
    parser = _Parser(prog=command.name, usage=command.name, add_help=False, allow_abbrev=False)
    for argument in command.arguments:
        nargs = ("+" if argument.required else "*") if argument.many else (None if argument.required else "?")
        _add(parser, argument.name.lower(), nargs=nargs, metavar=argument.name, choices=argument.choices or None)
    for option in command.all_options:
        if option.dest == "help":
            parser.add_argument(*option.flags, action=_ShowHelp, nargs=0)
        elif not option.metavar:
            parser.add_argument(*option.flags, action="store_true", dest=option.dest)
        else:
            _add(
                parser, *option.flags, dest=option.dest, metavar=option.metavar, type=option.type or str,
                choices=option.choices or None, action="append" if option.repeat else "store",
                default=[] if option.repeat else None,
            )  # fmt: skip
    return parser


def _add(parser: _Parser, *names: str, **more: Any) -> None:
    # argparse tells None from "not given" for some keywords.
    parser.add_argument(*names, **{key: value for key, value in more.items() if value is not None})


def split_tail(command: Command, words: Sequence[str]) -> tuple[int, bool]:
    """How many of the words belong to the subcommand, where the rest is a command on the instance.

    Options end at the second word that isn't one (the first is the target), or after ``--``.

    Returns
    -------
    tuple of int and bool
        The number of words, and whether the word after them is a ``--`` to be dropped.
    """
    takes_value = {flag for option in command.all_options if option.metavar for flag in option.flags}
    seen, position = 0, 0
    while position < len(words):
        word = words[position]
        if word == "--":
            return position, True
        if word.startswith("-") and len(word) > 1:
            position += 2 if word in takes_value else 1
            continue
        if seen:
            return position, False
        seen, position = 1, position + 1
    return len(words), False


# -- help --------------------------------------------------------------------------------------------------


def usage(command: Command, prefix: str = MAGIC) -> str:
    """The usage line of a subcommand."""
    parts = [prefix, command.name, *(argument.usage for argument in command.arguments)]
    parts += [f"[{option.usage}]" for option in command.all_options if option.dest != "help"]
    return " ".join(parts)


def help_text(command: Command, prefix: str = MAGIC) -> str:
    """The help of a subcommand: every option, and examples."""
    lines = [*textwrap.wrap(usage(command, prefix), 96, subsequent_indent="    ", break_on_hyphens=False), ""]
    lines += [f"{command.summary}."]
    if command.details:
        lines += ["", *textwrap.wrap(command.details, 96)]
    if command.cell and prefix.startswith("%"):
        lines += ["", *textwrap.wrap(f"As a cell magic (%{prefix} {command.name}): {command.cell}", 96)]
    if command.arguments:
        lines += ["", "Arguments:", *_rows((argument.name, argument.help) for argument in command.arguments)]
    lines += ["", "Options:"]
    lines += _rows(
        (", ".join(o.flags) + (f" {o.metavar}" if o.metavar else ""), option_help(o)) for o in command.all_options
    )
    lines += ["", "Examples:"]
    for example in command.examples:
        if not prefix.startswith("%") and example.line.startswith("%%"):
            continue
        # A terminal has no Python names to assign to.
        terminal = prefix + example.line.partition(MAGIC)[2]
        line = example.line if prefix.startswith("%") else terminal
        lines += [f"  {line}", *(f"  {row}" for row in example.body.splitlines()), f"      {example.says}"]
    return "\n".join(lines)


def overview_text(prefix: str = MAGIC) -> str:
    """The help of the magic itself."""
    known = commands()
    bodies = ", ".join(command.name for command in known.values() if command.cell)
    return "\n".join(
        [
            "Real machines on a local EC2: every instance is a container.",
            "",
            f"  {prefix}                    a short overview of what there is",
            f"  {prefix} SUBCOMMAND ...     see below; {prefix} SUBCOMMAND --help documents every option",
            f"  %{prefix} SUBCOMMAND ...    with a cell: {bodies}",
            "",
            "Subcommands:",
            *_rows((name, summary + ".") for name, summary in overview_rows(known).items()),
            "",
            "TARGET is an instance id or the beginning of one, a Name tag, a pattern such as web-*, or @last.",
            "{expr} and $name on the line stand for the values of your variables; in a cell's body nothing is touched.",
            "{{expr}} and $$name write them literally; what isn't a defined name stays as it is.",
            f"{prefix} --debug SUBCOMMAND ... shows the whole traceback of an error.",
            "",
            "Examples:",
            f"  web = {prefix} run --name web --publish 80",
            f"  {prefix} exec web uname -a",
            f"  {prefix} terminate web",
        ]
    )


def group_text(group: Group, inner: Mapping[str, Command], prefix: str = MAGIC) -> str:
    """The help of a group: its subcommands."""
    return "\n".join(
        [
            f"{prefix} {group.name} SUBCOMMAND ...",
            "",
            f"{group.summary}.",
            "",
            f"  {prefix} {group.name} alone is {group.name} {group.default}; "
            f"{prefix} {group.name} SUBCOMMAND --help documents every option.",
            "",
            "Subcommands:",
            *_rows((name, command.summary + ".") for name, command in inner.items()),
        ]
    )


def option_help(option: Option) -> str:
    """The sentence of an option, with what its kind implies."""
    choices = f" One of {', '.join(option.choices)}." if option.choices else ""
    return option.help + choices + (" May be given several times." if option.repeat else "")


def _rows(rows: Iterable[tuple[str, str]]) -> list[str]:
    lines: list[str] = []
    for head, text in rows:
        wrapped = textwrap.wrap(text, 68) or [""]
        if len(head) > 24:
            lines.append(f"  {head}")
            head = ""
        lines.append(f"  {head:<26}{wrapped[0]}".rstrip())
        lines += [" " * 28 + line for line in wrapped[1:]]
    return lines


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
