"""What several subcommands share: the target argument, the waiting options, and a wait that can be interrupted."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from IPython.core.error import UsageError

from .. import render
from ..failures import Interrupted
from ..parser import MAGIC, seconds
from ..registry import Argument, Option
from ..session import Session

if TYPE_CHECKING:
    from ...handles import Instance, InstanceList

T = TypeVar("T")

TARGET = Argument(
    "TARGET", "Instance id or its beginning, Name tag, a pattern such as web-*, or @last.", completes="targets"
)  # fmt: skip
TARGETS = Argument(
    "TARGET",
    "Instance ids or their beginnings, Name tags, patterns such as web-*, or @last.",
    many=True,
    required=False,
    completes="targets",
)
FILTER = Option(
    ("--filter",),
    "Take the instances that match, such as tag:Env=dev or instance-type=t3.micro.",
    "NAME=VALUE",
    repeat=True,
    completes="filters",
)
NO_WAIT = Option(("--no-wait",), "Return at once, without waiting for the new state.")
TIMEOUT = Option(("--timeout",), "How long to wait: seconds, or 2m, or 1h.", "TIME", type=seconds)


def targets(session: Session, args: Namespace, *, default: Sequence[str] = ()) -> InstanceList:
    """The instances that the line names, by target or by filter.

    Raises
    ------
    UsageError
        Where it names none.
    TargetError
        Where one is unknown or ambiguous.
    """
    named = args.target or ([] if args.filter else default)
    if not named and not args.filter:
        raise UsageError(f"Name an instance or give --filter; {MAGIC} ls shows what there is.")
    return session.ec2.find(named, filters=args.filter)


def limit(session: Session, args: Namespace) -> dict[str, Any]:
    """The timeout of a wait, where the line or the configuration sets one; else the call's own default holds."""
    timeout = args.timeout or session.preferences.timeout
    return {"timeout": timeout} if timeout else {}


@dataclass(frozen=True)
class Kind(Generic[T]):
    """How one kind of handles is spoken of while it is waited for.

    Parameters
    ----------
    watched : callable
        The line of the wait.
    several : callable
        Makes the list of handles of its kind.
    stands : callable
        A handle and how it stands, for a sentence.
    again : callable
        The subcommand that shows how they stand; gets the handles, of which there may be none.
    """

    watched: Callable[[Sequence[T]], str]
    several: Callable[[Sequence[T]], Any]
    stands: Callable[[T], str]
    again: Callable[[Sequence[T]], str]

    def handle(self, things: Sequence[T]) -> Any:
        """What the user gets of them: the one, or the list."""
        return things[0] if len(things) == 1 else self.several(things)


def _instance_list(machines: Sequence[Instance]) -> InstanceList:
    from ...handles import InstanceList

    return InstanceList(machines)


INSTANCES: Kind[Instance] = Kind(
    render.watched,
    _instance_list,
    lambda machine: f"{render.label(machine)} ({machine.state})",
    lambda seen: f"{MAGIC} show {seen[0].id} shows how it stands" if seen else f"{MAGIC} ls shows what there is",
)


@contextmanager
def watching(
    session: Session, text: str, kind: Kind[T], things: Sequence[T] = ()
) -> Iterator[Callable[[Sequence[T]], None]]:
    """Show progress, and let an interrupt stop the waiting only.

    Yields
    ------
    callable
        The ``on_change`` of the call to ``Ec2``; it also keeps the handles for ``-o`` in case of a failure.
    """
    seen: list[T] = list(things)
    if seen:
        session.partial = kind.handle(seen)
    with session.progress(text) as line:

        def on_change(changed: Sequence[T]) -> None:
            seen[:] = changed
            session.partial = kind.handle(seen)
            line.update(f"{text}: {kind.watched(seen)}")

        try:
            yield on_change
        except KeyboardInterrupt:
            what = ", ".join(map(kind.stands, seen[:6])) + (f" and {len(seen) - 6} more" if len(seen) > 6 else "")
            raise Interrupted(
                f"stopped waiting{' for ' + what if what else ''}; what was begun goes on; {kind.again(seen)}."
            ) from None


def waiting(
    session: Session, text: str, machines: Sequence[Instance] = ()
) -> AbstractContextManager[Callable[[Sequence[Instance]], None]]:
    """Show progress of instances, and let an interrupt stop the waiting only; as ``watching``."""
    return watching(session, text, INSTANCES, machines)


def read_file(path: str, what: str) -> str:
    """The text of a file that the line names.

    Raises
    ------
    UsageError
        Where it can't be read.
    """
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it isn't UTF-8 text"
        raise UsageError(f"{what} {path} can't be read: {reason}.") from None
