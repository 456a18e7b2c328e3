"""Tab completion of ``%ec2`` and ``%%ec2`` lines, the same on IPython 8 and 9.

From the registry and from what was last seen of the instances: never from the network, so that a Tab is never slow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from ..catalog import AMIS
from ..names import BASE_IMAGE, DEFAULT_IMAGE
from .registry import GROUPS, Argument, Command, Option, commands, members, overview_rows

IDENTIFIER = "oblako_magic.ec2"
_LINE = re.compile(r"^\s*(?:[\w.,\s\[\]\"']+=\s*)?%{1,2}ec2[ \t]+(?P<rest>.*)$")
Known = Callable[[], "list[tuple[str, str]]"]
Names = Callable[[], "list[str]"]


def _nothing() -> list[str]:
    return []


def matcher(known: Known, notebooks: Names = _nothing) -> Any:
    """A matcher for ``IPCompleter.custom_matchers``.

    Parameters
    ----------
    known : callable
        Gives the ids and names of the instances last seen.
    notebooks : callable
        Gives the names of the notebook instances last seen.
    """

    def ec2_matcher(context: CompletionContext) -> dict[str, Any]:
        # Of a cell only its first line is ours, and text_until_cursor is one line.
        match = _LINE.match(context.text_until_cursor)
        if match is None or ("%%" in match[0][: match.start("rest")] and context.cursor_line > 0):
            return {"completions": []}
        *words, fragment = re.split(r"\s+", match["rest"])
        found = complete(words, fragment, known, notebooks)
        return {
            "completions": [SimpleCompletion(text=text, type="magic") for text in found],
            "suppress": bool(found),
            "matched_fragment": fragment,
        }

    mark: Any = context_matcher(identifier=IDENTIFIER, priority=100)
    return mark(ec2_matcher)


def complete(words: list[str], fragment: str, known: Known, notebooks: Names = _nothing) -> list[str]:
    """What the word that begins with ``fragment`` may be, after these words."""
    words = [word for word in words if word not in {"", "--debug"}]
    if not words:
        return _starting(fragment, [*overview_rows(commands()), "--debug", "--help"])
    if words[0] in GROUPS:
        if len(words) == 1:
            return _starting(fragment, [*members(words[0], commands()), "--help"])
        words = [" ".join(words[:2]), *words[2:]]
    command = commands().get(words[0])
    if command is None:
        return []
    before = words[1:]
    positional, option = _place(command, before)
    if command.tail and positional > 1:
        return []
    if option is not None:
        return _starting(fragment, _values(option, known, notebooks))
    if fragment.startswith("-"):
        return _starting(fragment, _flags(command, before))
    argument = _argument(command, positional)
    return _starting(fragment, _values(argument, known, notebooks)) if argument is not None else []


def _place(command: Command, words: Iterable[str]) -> tuple[int, Option | None]:
    """How many positional words there are, and the option that waits for its value."""
    positional, waiting = 0, None
    for word in words:
        if waiting is not None:
            waiting = None
        elif word.startswith("-"):
            waiting = next((o for o in command.all_options if o.metavar and word in o.flags), None)
        else:
            positional += 1
            if command.tail and positional > 1:
                break
    return positional, waiting


def _argument(command: Command, position: int) -> Argument | None:
    for number, argument in enumerate(command.arguments):
        if argument.many or number == position:
            return argument
    return None


def _flags(command: Command, before: list[str]) -> list[str]:
    """Long options that can still be given."""
    return [
        next((flag for flag in option.flags if flag.startswith("--")), option.flags[0])
        for option in command.all_options
        if option.repeat or not set(option.flags) & set(before)
    ]


def _values(thing: Argument | Option, known: Known, notebooks: Names) -> list[str]:
    if thing.choices:
        return list(thing.choices)
    if thing.completes in {"instances", "targets"}:
        mark = ":" if thing.completes == "instances" else ""
        seen = known()
        names = [f"{name}{mark}" for _, name in seen if name and " " not in name]
        return [*names, *(f"{instance_id}{mark}" for instance_id, _ in seen), *(["@last"] if not mark else [])]
    if thing.completes == "notebooks":
        return [*notebooks(), "@last"]
    if thing.completes == "images":
        return [DEFAULT_IMAGE, BASE_IMAGE, *(ami.image for ami in AMIS)]
    if thing.completes == "filters":
        return ["tag:", "tag-key=", "instance-state-name=", "instance-type=", "image-id=", "vpc-id=", "subnet-id="]
    return []


def _starting(fragment: str, candidates: Iterable[str]) -> list[str]:
    return [text for text in dict.fromkeys(candidates) if text.startswith(fragment)]
