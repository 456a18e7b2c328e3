"""The one registry of subcommands. Pure; no I/O.

A :class:`Command` describes itself completely; parsing, help, completion, docs/magics.md and the test that
everything is documented all read it, so none of them can fall behind. To add a subcommand, write a function
``run(session, args)`` in ``commands/`` and decorate it with :func:`command`.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from .session import Session

Handler: TypeAlias = "Callable[[Session, Namespace], Any]"
Completes = Literal["", "instances", "targets", "images", "filters", "notebooks"]


@dataclass(frozen=True)
class Argument:
    """A positional argument of a subcommand.

    Parameters
    ----------
    name : str
        Its name in usage lines, such as ``TARGET``; in lower case, the attribute that holds it.
    help : str
        One sentence.
    many : bool
        Whether it takes several words.
    required : bool
        Whether at least one word must be given.
    choices : tuple of str
        The only words that are accepted, if there are such.
    completes : str
        What to complete it with.
    """

    name: str
    help: str
    many: bool = False
    required: bool = True
    choices: tuple[str, ...] = ()
    completes: Completes = ""

    @property
    def usage(self) -> str:
        """How it stands in a usage line."""
        word = "|".join(self.choices) or self.name
        word = f"{word}..." if self.many else word
        return word if self.required else f"[{word}]"


@dataclass(frozen=True)
class Option:
    """An option of a subcommand.

    Parameters
    ----------
    flags : tuple of str
        ``("--all", "-a")``; the first long one names the attribute.
    help : str
        One sentence.
    metavar : str
        Name of the value; empty for a switch, which takes none.
    repeat : bool
        Whether it may be given several times; the attribute is a list then.
    type : callable, optional
        Reads the value; raises ``argparse.ArgumentTypeError`` with a sentence.
    choices : tuple of str
        The only values that are accepted, if there are such.
    completes : str
        What to complete the value with.
    magic_only : bool
        Whether it makes no sense in a terminal, such as the name of a variable.
    """

    flags: tuple[str, ...]
    help: str
    metavar: str = ""
    repeat: bool = False
    type: Callable[[str], Any] | None = None
    choices: tuple[str, ...] = ()
    completes: Completes = ""
    magic_only: bool = False

    @property
    def dest(self) -> str:
        """The attribute that holds the value."""
        return next((flag for flag in self.flags if flag.startswith("--")), self.flags[0]).strip("-").replace("-", "_")

    @property
    def usage(self) -> str:
        """The option with its value, as a usage line shows it."""
        return f"{self.flags[0]} {self.metavar}" if self.metavar else self.flags[0]


@dataclass(frozen=True)
class Example:
    """A line that works, the cell's body if it has one, and what the two do."""

    line: str
    says: str
    body: str = ""


@dataclass(frozen=True)
class Command:
    """A subcommand; see the module's docstring.

    Parameters
    ----------
    name : str
        Two words for a member of a group: ``notebook run``.
    summary : str
        One sentence without a full stop's worth of detail: the row in the overview.
    handler : callable
        ``handler(session, args)``; what it returns is the magic's value.
    arguments, options, examples : tuple
    details : str
        A paragraph for the help, on top of the summary.
    cell : str
        What the body of ``%%ec2 NAME`` means; empty where there is no such form.
    tail : bool
        Whether the words after the first argument belong to a command on the instance and are not options.
    returns : bool
        Whether there is a value, for ``--json`` and ``-o NAME``.
    magic_only : bool
        Whether it makes no sense in a terminal.
    offline : bool
        Whether it works without a control plane, and must not start one.
    """

    name: str
    summary: str
    handler: Handler
    arguments: tuple[Argument, ...] = ()
    options: tuple[Option, ...] = ()
    examples: tuple[Example, ...] = ()
    details: str = ""
    cell: str = ""
    tail: bool = False
    returns: bool = True
    magic_only: bool = False
    offline: bool = False

    @property
    def group(self) -> str:
        """The group that it belongs to; empty for most."""
        group, blank, _ = self.name.partition(" ")
        return group if blank else ""

    @property
    def all_options(self) -> tuple[Option, ...]:
        """The own options and those that every subcommand has."""
        return (*self.options, *(RESULT_OPTIONS if self.returns else ()), HELP_OPTION)


@dataclass(frozen=True)
class Group:
    """Subcommands about one kind of thing, called as ``%ec2 GROUP SUBCOMMAND``.

    Parameters
    ----------
    name : str
    summary : str
        The row in the overview; as a command's.
    default : str
        What the group's name alone does.
    """

    name: str
    summary: str
    default: str


def for_terminal(command: Command) -> Command:
    """The subcommand as ``oblako`` has it: without what needs a notebook."""
    options = (*command.options, *(RESULT_OPTIONS if command.returns else ()))
    return replace(command, options=tuple(option for option in options if not option.magic_only), returns=False)


HELP_OPTION = Option(("--help", "-h"), "Show this help and do nothing else.")
OUTPUT_OPTION = Option(
    ("-o", "--result"), "Bind the result to this variable instead of displaying it.", "NAME", magic_only=True
)
JSON_OPTION = Option(("--json",), "Give the result as JSON text.")
RESULT_OPTIONS = (OUTPUT_OPTION, JSON_OPTION)

REGISTRY: dict[str, Command] = {}
GROUPS: dict[str, Group] = {
    group.name: group for group in (Group("notebook", "JupyterLab in instances of their own (SageMaker)", "ls"),)
}


def command(
    name: str,
    summary: str,
    *,
    arguments: Iterable[Argument] = (),
    options: Iterable[Option] = (),
    examples: Iterable[Example] = (),
    **more: Any,
) -> Callable[[Handler], Handler]:
    """Put a subcommand into the registry; the decorated function carries it out."""

    def register(handler: Handler) -> Handler:
        REGISTRY[name] = Command(
            name, summary, handler, arguments=tuple(arguments), options=tuple(options), examples=tuple(examples), **more
        )
        return handler

    return register


ORDER = (
    "run", "ls", "panel", "show", "stop", "start", "reboot", "terminate", "wait", "exec", "shell", "logs", "console",
    "stats", "events", "map", "ports", "publish", "unpublish", "cp", "images", "env", "status", "doctor",
    "client", "stack",
    "notebook run", "notebook ls", "notebook open", "notebook url", "notebook stop", "notebook start",
    "notebook terminate", "notebook update",
)  # fmt: skip
"""The order of the overview and of the docs: the way of an instance first, then what surrounds it."""


def commands() -> dict[str, Command]:
    """All subcommands in the order to show them."""
    # Imported here: the modules in commands/ import this one.
    from . import commands as _all  # noqa: F401

    rank = {name: number for number, name in enumerate(ORDER)}
    return dict(sorted(REGISTRY.items(), key=lambda item: rank.get(item[0], len(rank))))


def members(group: str, known: Mapping[str, Command]) -> dict[str, Command]:
    """The subcommands of a group by their second word."""
    return {name.partition(" ")[2]: command for name, command in known.items() if command.group == group}


def overview_rows(known: Mapping[str, Command]) -> dict[str, str]:
    """First words and what they do, in the order to show them; a group is one of them."""
    return {
        command.group or name: _group_row(command.group, known) if command.group else command.summary
        for name, command in known.items()
    }


def _group_row(group: str, known: Mapping[str, Command]) -> str:
    return f"{GROUPS[group].summary}: {', '.join(members(group, known))}"
