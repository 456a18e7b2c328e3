"""``oblako``: the control plane from a terminal, and the magics' subcommands in plain text.

Exit codes: 0 done, 1 failed, 2 not understood, 130 interrupted; ``exec`` ends with the command's own.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from ..errors import OblakoError
from . import render
from .cli_commands import OWN, PROGRAM
from .dispatch import perform
from .failures import internal, sentence
from .parser import HelpRequested, find_command, help_text, parse, split_tail
from .registry import Command, commands, for_terminal, overview_rows
from .results import JsonText
from .session import Preferences, Session

if TYPE_CHECKING:
    from ..cloud import Ec2

_HINT = re.compile(r"%?%ec2(?! env)")


def subcommands() -> dict[str, Command]:
    """All that the terminal has, in the order to show them."""
    shared = {name: for_terminal(command) for name, command in commands().items() if not command.magic_only}
    return {**OWN, **shared}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after ``oblako``; those of the process by default.

    Returns
    -------
    int
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = words[:1] == ["--debug"]
    try:
        return _main(words[1:] if debug else words)
    except UsageError as error:
        return _fail(error, 2)
    except KeyboardInterrupt as error:
        return _fail(error, 130)
    except BrokenPipeError:
        # "oblako ls | head": nobody reads any more, which is no failure; the interpreter's own flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OblakoError as error:
        if debug:
            raise
        return _fail(error, 1)
    except Exception as error:
        if debug:
            raise
        return _fail(internal(error, "", f"{PROGRAM} --debug {' '.join(words)[:40]}"), 1)


def _main(words: list[str]) -> int:
    if len(words) > 1 and words[0] == "help":
        words = [*words[1:], "--help"]
    if not words or words[0] in {"-h", "--help", "help"}:
        print(overview_text())
        return 0
    if words[0] == "--version":
        from .. import __version__

        print(f"{PROGRAM} {__version__}")
        return 0
    following = iter(words[1:])
    try:
        command = find_command(words[0], PROGRAM, subcommands(), following)
    except HelpRequested as asked:
        print(_terminal(str(asked)))
        return 0
    rest, tail = list(following), None
    if command.tail:
        own, dashes = split_tail(command, rest)
        # One word is a shell command, as a quoted pipe is; several are a program and its arguments.
        command_words = rest[own + dashes :]
        tail = command_words[0] if len(command_words) == 1 else command_words or None
        rest = rest[:own]
    try:
        args = parse(command, rest, PROGRAM)
    except HelpRequested:
        print(help_text(command, PROGRAM))
        return 0
    session = Session(_connect(), preferences=Preferences(output_limit=sys.maxsize), tail=tail)
    value = perform(command, session, args)
    text = shown(value)
    if text:
        print(text)
    return exit_code(value)


def _connect() -> Any:
    """Makes the ``Ec2`` on first need, once."""
    made: list[Ec2] = []

    def connect() -> Ec2:
        from ..cloud import Ec2

        if not made:
            made.append(Ec2())
            made[0].front_end = "terminal"
        return made[0]

    return connect


def overview_text() -> str:
    """What ``oblako`` alone prints."""
    rows = overview_rows(subcommands())
    width = max(map(len, rows))
    return "\n".join(
        [
            f"usage: {PROGRAM} [--debug] SUBCOMMAND ...    {PROGRAM} SUBCOMMAND --help documents every option",
            "",
            *(f"  {name.ljust(width)}  {summary}" for name, summary in rows.items()),
        ]
    )


def shown(value: Any) -> str:
    """A result as plain text."""
    # Imported here: help needs none of it.
    from ..handles import Instance, InstanceList, Report, Status
    from ..notebooks import Notebook, NotebookLink, NotebookList
    from . import render_notebooks
    from .outcome import Outcome

    if value is None or isinstance(value, Outcome):
        return ""
    kinds: dict[type, Callable[[Any], str]] = {
        Instance: render.instance_text,
        InstanceList: render.instances_text,
        Status: render.status_text,
        Report: render.report_text,
        Notebook: render_notebooks.notebook_text,
        NotebookList: render_notebooks.notebooks_text,
        NotebookLink: render_notebooks.link_text,
    }
    for kind, text in kinds.items():
        if isinstance(value, kind):
            return _terminal(text(value))
    if isinstance(value, JsonText):
        return str(value)
    return _terminal(value.as_text() if hasattr(value, "as_text") else str(value))


def exit_code(value: Any) -> int:
    """0 where all is well; of a command on an instance its own."""
    code = getattr(value, "exit_code", None)
    if isinstance(code, int):
        return code if 0 <= code <= 255 else 1
    from ..handles import Report

    return 1 if isinstance(value, Report) and not value.ok else 0


def _terminal(text: str) -> str:
    """Hints name the magics; in a terminal they are subcommands of ``oblako``, all but ``env``."""
    return _HINT.sub(PROGRAM, text)


def _fail(error: BaseException, code: int) -> int:
    print(f"{PROGRAM}: {_terminal(sentence(error))}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
