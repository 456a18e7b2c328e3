"""What several subcommands share: the target argument, the waiting options, and a wait that can be interrupted."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from .. import render
from ..failures import Interrupted
from ..parser import MAGIC, seconds
from ..registry import Argument, Option
from ..session import Session

if TYPE_CHECKING:
    from ...handles import Instance, InstanceList

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


@contextmanager
def waiting(
    session: Session, text: str, machines: Sequence[Instance] = ()
) -> Iterator[Callable[[Sequence[Instance]], None]]:
    """Show progress, and let an interrupt stop the waiting only.

    Yields
    ------
    callable
        The ``on_change`` of the call to ``Ec2``; it also keeps the handles for ``-o`` in case of a failure.
    """
    seen: list[Instance] = list(machines)
    if seen:
        session.partial = _handle(seen)
    with session.progress(text) as line:

        def on_change(instances: Sequence[Instance]) -> None:
            seen[:] = instances
            session.partial = _handle(seen)
            line.update(f"{text}: {render.watched(seen)}")

        try:
            yield on_change
        except KeyboardInterrupt:
            what = ", ".join(f"{render.label(machine)} ({machine.state})" for machine in seen)
            again = f"; {MAGIC} show {seen[0].id} shows how it stands" if seen else f"; {MAGIC} ls shows what there is"
            raise Interrupted(
                f"stopped waiting{' for ' + what if what else ''}; what was begun goes on{again}."
            ) from None


def _handle(machines: Sequence[Instance]) -> Instance | InstanceList:
    from ...handles import InstanceList

    return machines[0] if len(machines) == 1 else InstanceList(machines)


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
