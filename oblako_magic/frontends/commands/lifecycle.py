"""``stop``, ``start``, ``reboot``, ``terminate`` and ``wait``: change the state of instances, or wait for one."""

from __future__ import annotations

from argparse import Namespace
from typing import Any, Literal

from ...errors import TargetError
from ..parser import MAGIC
from ..registry import Example, Option, command
from ..render import state_text
from ..results import Change, Changes
from ..session import Session
from .common import FILTER, NO_WAIT, TARGETS, TIMEOUT, limit, targets, waiting

Action = Literal["start", "stop", "reboot", "terminate"]


def _change(session: Session, args: Namespace, action: Action) -> Changes:
    """Do the same to every instance that the line names, and say what became of each."""
    machines = targets(session, args)
    # Handles are updated in place: what they were must be noted before.
    before = {machine.id: machine.state for machine in machines}
    with waiting(session, action, machines) as on_change:
        after = session.ec2.change(
            action,
            machines,
            wait=not args.no_wait,
            on_change=on_change,
            **limit(session, args),
        )
    remark = "rebooted" if action == "reboot" else ""
    return Changes(
        (
            Change(machine.id, machine.name, before.get(machine.id, "?"), state_text(machine), remark)
            for machine in after
        ),
        after,
    )


@command(
    "stop",
    "Stop instances; their data and ports stay",
    arguments=[TARGETS],
    options=[FILTER, NO_WAIT, TIMEOUT],
    examples=[
        Example(f"{MAGIC} stop web db", "Stops both and says what it did, a line for each."),
        Example(f"{MAGIC} stop --filter tag:Env=dev", "Stops all that carry the tag."),
    ],
)
def stop(session: Session, args: Namespace) -> Any:
    """Stop."""
    return _change(session, args, "stop")


@command(
    "start",
    "Start stopped instances on the data that they had",
    arguments=[TARGETS],
    options=[FILTER, NO_WAIT, TIMEOUT],
    examples=[Example(f"{MAGIC} start web", "Starts it and waits until it runs.")],
)
def start(session: Session, args: Namespace) -> Any:
    """Start."""
    return _change(session, args, "start")


@command(
    "reboot",
    "Restart running instances",
    arguments=[TARGETS],
    options=[FILTER, NO_WAIT, TIMEOUT],
    examples=[Example(f"{MAGIC} reboot web", "Restarts its processes; address, ports and data stay.")],
)
def reboot(session: Session, args: Namespace) -> Any:
    """Reboot."""
    return _change(session, args, "reboot")


@command(
    "terminate",
    "Terminate instances; their root volumes go with them",
    arguments=[TARGETS],
    options=[FILTER, NO_WAIT, TIMEOUT],
    details="Asks for nothing. Volumes with DeleteOnTermination=false stay.",
    examples=[
        Example(f"{MAGIC} terminate web", "Removes the instance and its data."),
        Example(f"{MAGIC} terminate 'test-*' @last", "Several at once; a pattern matches Name tags."),
    ],
)
def terminate(session: Session, args: Namespace) -> Any:
    """Terminate."""
    return _change(session, args, "terminate")


@command(
    "wait",
    "Wait until instances are in a state",
    arguments=[TARGETS],
    options=[
        Option(
            ("--state",),
            "The state to wait for; running by default.",
            "STATE",
            choices=("running", "stopped", "terminated"),
        ),
        FILTER,
        TIMEOUT,
    ],
    examples=[Example(f"{MAGIC} wait web --state stopped --timeout 2m", "Waits two minutes at most.")],
)
def wait(session: Session, args: Namespace) -> Any:
    """Wait."""
    state = args.state or "running"
    try:
        machines = targets(session, args)
    except TargetError:
        if state != "terminated":
            raise
        machines = session.ec2.find(args.target, filters=args.filter, terminated=True)  # gone before the wait began
    with waiting(session, f"waiting for {state}", machines) as on_change:
        done = session.ec2.wait(machines, state, on_change=on_change, **limit(session, args))
    return done[0] if len(done) == 1 else done
