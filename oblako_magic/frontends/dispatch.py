"""From a line to a value: find the subcommand, parse, run, and hand the result on.

Knows neither IPython's shell nor the terminal: both the magic and the command line call it.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from IPython.core.error import UsageError

from .expand import Expander
from .line import Word, take_semicolon, words
from .parser import MAGIC, HelpRequested, find_command, help_text, overview_text, parse, split_tail, variable
from .registry import Command
from .results import Text, to_json
from .session import Session


def run_line(session: Session, line: str, overview: Callable[[Session], Any]) -> Any:
    """Carry out what stands after ``%ec2``.

    Parameters
    ----------
    session : Session
        Its ``partial`` holds, after a failure, what there was so far.
    line : str
    overview : callable
        Gives the value of an empty line.

    Raises
    ------
    UsageError
        For a line that can't be understood.
    OblakoError
        For what could not be done.
    """
    line, silent = take_semicolon(line)
    stream = words(line, session.expander)
    first = next(stream, None)
    if first is None:
        if session.body is not None:
            raise UsageError(f"%{MAGIC} needs a subcommand, such as %{MAGIC} run or %{MAGIC} exec TARGET.")
        return None if silent else overview(session)
    if first.text in {"--help", "-h", "help"}:
        return Text(_help([word.text for word in stream]))
    try:
        command = find_command(first.text, more=(word.text for word in stream))
        if command.tail:
            rest, session = _with_tail(command, session, line, first)
        else:
            rest = [word.text for word in stream]
        args = parse(command, rest)
    except HelpRequested as help_text:
        return Text(str(help_text))
    if session.body is not None and not command.cell:
        raise UsageError(f"{command.name} takes no cell; write {MAGIC} {command.name} on a line of its own.")
    value = perform(command, session, args)
    return None if silent else value


def _help(subcommand: Sequence[str]) -> str:
    """The text for ``help``, alone or with the name of a subcommand."""
    if not subcommand:
        return overview_text()
    try:
        return help_text(find_command(subcommand[0], more=iter([*subcommand[1:], "--help"])))
    except HelpRequested as text:
        return str(text)


def perform(command: Command, session: Session, args: Any) -> Any:
    """Run a subcommand, and bind or convert what it gives as its options say."""
    name = getattr(args, "result", None)
    if name:
        try:
            variable(name)
        except ArgumentTypeError as error:
            raise UsageError(f"{command.name}: {error}.") from None
    if not command.offline:
        session.ready()
    try:
        value = command.handler(session, args)
    except BaseException:
        # The handle is what a person needs most when something went wrong.
        if name and session.partial is not None:
            session.names[name] = session.partial
        raise
    if value is not None and getattr(args, "json", False):
        value = to_json(value)
    if name:
        session.names[name] = value
        return None
    return value


def _with_tail(command: Command, session: Session, line: str, first: Word) -> tuple[list[str], Session]:
    """Split a line whose end is a command on the instance."""
    # First without values, to find where the command begins: its words must not be evaluated twice.
    shapes = list(words(line[first.end :], Expander({})))
    own, dashes = split_tail(command, [shape.text for shape in shapes])
    start = first.end + (shapes[own].start if own < len(shapes) else len(line) - first.end)
    rest = [word.text for word in words(line[first.end : start], session.expander)]
    if dashes:
        start, own = first.end + shapes[own].end, own + 1
    tail_words = shapes[own:]
    tail = line[start:].strip()
    if len(tail_words) == 1 and tail_words[0].quoted:
        # 'ls | wc -l' as one quoted word is the whole command, not the name of a program.
        text = next(words(tail, session.expander)).text
    else:
        text = session.expander.text(tail)
    return rest, replace(session, tail=text or None)
