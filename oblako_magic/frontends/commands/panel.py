"""``panel``: the live table beside the notebook."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from ..parser import MAGIC
from ..registry import Argument, Example, command
from ..session import Session
from .common import FILTER, TARGETS, targets


@command(
    "panel",
    "Show a live panel of instances, with buttons for all that can be done to them",
    arguments=[Argument("TARGET", TARGETS.help + " All by default.", True, False, completes="targets")],
    options=[FILTER],
    details="It follows whatever changes instances - another notebook, the aws command, the engine - also while a cell "
    "runs. Keep it beside the notebook: a click with the right button on it, Create New View for Output. Where no "
    "widgets are shown it is the table of ls.",
    magic_only=True,
    examples=[
        Example(f"{MAGIC} panel", "All instances, those to come too; with a launch form."),
        Example(f"{MAGIC} panel web-*", "Those alone."),
    ],
)
def panel(session: Session, args: Namespace) -> Any:
    """Show."""
    machines = targets(session, args) if args.target or args.filter else None
    if getattr(session.shell, "kernel", None) is None:
        return session.ec2.instances() if machines is None else machines
    return session.ec2.panel(machines)
