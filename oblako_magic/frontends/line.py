"""Splits a magic's line into words, as a shell does, with placeholders expanded per word. Pure; no I/O.

The words come one by one, so that the end of a line that belongs to a command on an instance is never looked
at. A value never splits: ``--name {name}`` is one word even if the name has blanks. A word that is nothing
but one placeholder whose value is a list becomes one word per member: ``%ec2 stop {machines}``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from IPython.core.error import UsageError

from .expand import Expander, as_text

_ESCAPED = frozenset(" \t'\"\\$")


@dataclass(frozen=True)
class Word:
    """A word and where it stood in the line."""

    text: str
    start: int
    end: int
    quoted: bool = False


def words(line: str, expander: Expander | None = None) -> Iterator[Word]:
    """Split a line lazily.

    Raises
    ------
    UsageError
        For a quote that isn't closed.
    """
    expand = expander or Expander({})
    position = 0
    while True:
        while position < len(line) and line[position].isspace():
            position += 1
        if position >= len(line):
            return
        start = position
        pieces, position, quoted = _word(line, position, expand)
        if len(pieces) == 1 and isinstance(pieces[0], (list, tuple, set, frozenset)):
            for member in pieces[0]:
                yield Word(as_text(member), start, position, quoted)
        else:
            yield Word("".join(as_text(piece) for piece in pieces), start, position, quoted)


def _word(line: str, position: int, expand: Expander) -> tuple[list[Any], int, bool]:
    pieces: list[Any] = []
    quote, opened, quoted = "", 0, False
    while position < len(line) and (quote or not line[position].isspace()):
        found = expand.at(line, position, dollar=quote != "'")
        if found is not None:
            pieces.append(found.value)
            position = found.end
            continue
        char = line[position]
        follower = line[position + 1 : position + 2]
        if char == "\\" and quote != "'" and follower and follower in (_ESCAPED if not quote else '"\\$'):
            pieces.append(follower)
            position += 2
            continue
        if char == quote:
            quote = ""
        elif char in "'\"" and not quote:
            quote, opened, quoted = char, position, True
        else:
            pieces.append(char)
        position += 1
    if quote:
        raise UsageError(
            f"The quote {quote} before {line[opened + 1 : opened + 11].strip() or 'the end'} isn't closed."
        )
    return pieces, position, quoted


def take_semicolon(line: str) -> tuple[str, bool]:
    """The line without a final ``;``, and whether it had one: it silences the result, as in Python cells.

    Not IPython's ``output_can_be_silenced``: that reads the line as Python and fails on an open bracket.
    """
    stripped = line.rstrip()
    if stripped.endswith(";") and not stripped.endswith(("\\;", ";;")):
        return stripped[:-1].rstrip(), True
    return line, False
