"""``shell``: a shell on an instance."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from ..parser import MAGIC
from ..registry import Example, Option, command
from ..results import Text
from ..session import Session
from .common import TARGET


@command(
    "shell",
    "Open a shell on an instance",
    arguments=[TARGET],
    options=[Option(("--user", "-u"), "As this user instead of the image's own.", "USER")],
    details="In JupyterLab it is a terminal in the notebook, several at once where you like; in a terminal, and in "
    "IPython there, it takes that terminal until the shell ends. It is a login shell with a terminal (TTY) of its own: "
    "editors and Ctrl-C work. It ends with the instance. For a single command there is exec.",
    returns=False,
    examples=[
        Example(f"{MAGIC} shell web", "A shell below the cell; Shift and Escape lead out of it without a mouse."),
        Example(f"{MAGIC} shell --user ec2-user @last", "As another user, on the newest instance."),
    ],
)
def shell(session: Session, args: Namespace) -> Any:
    """Open."""
    machine = session.ec2.find_one(args.target)
    user = args.user or ""
    if getattr(session.shell, "kernel", None) is not None:
        return session.ec2.shell(machine, user=user)
    from ..shell import tty

    return Text(tty.attach(machine, lambda size: session.ec2.open_shell(machine, user=user, size=size)))
