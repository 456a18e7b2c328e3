"""``ports``, ``publish`` and ``unpublish``: the links on this machine that lead into instances."""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from ...model import parse_publish
from ..parser import MAGIC, whole
from ..registry import Argument, Example, command
from ..render import label
from ..results import Table, Text
from ..session import Session
from .common import FILTER, TARGET, TARGETS, targets

if TYPE_CHECKING:
    from ...handles import Instance
    from ...model import PortMapping


def _table(ports: Iterable[tuple[Instance, PortMapping]], nothing: str) -> Table:
    rows = [
        {
            "name": machine.name, "instance": machine.id, "port": port.container_port,
            "host": port.host, "host_port": port.host_port, "live": port.live,
            "url": port.url if port.host_port else "",
        }
        for machine, port in ports
    ]  # fmt: skip
    columns = {"name": "Name", "instance": "Instance", "port": "Port", "url": "Link"}
    return Table(rows, columns, links=["url"], nothing=nothing)


@command(
    "ports",
    "Show the published ports with their links",
    arguments=[Argument("TARGET", TARGETS.help + " All by default.", True, False, completes="targets")],
    options=[FILTER],
    examples=[Example(f"{MAGIC} ports web", "The addresses on this machine that lead into the instance.")],
)
def ports(session: Session, args: Namespace) -> Any:
    """List ports."""
    machines = targets(session, args) if args.target else session.ec2.instances(filters=args.filter)
    found = ((machine, port) for machine in machines for port in machine.ports)
    return _table(found, nothing=f"no published ports; {MAGIC} publish TARGET PORT publishes one")


@command(
    "publish",
    "Publish ports of a running instance on this machine",
    details="At once and without a restart, also where nothing listens yet; the host port is the instance's until it "
    "is unpublished, over stop and start. The program in the instance must listen on all addresses (0.0.0.0), not on "
    "127.0.0.1 alone.",
    arguments=[TARGET, Argument("PORT", "The instance's port; HOST_PORT:PORT says the port here, too.", many=True)],
    examples=[
        Example(f"{MAGIC} publish web 8888", "A free port of this machine leads to port 8888 of the instance."),
        Example(f"{MAGIC} publish web 8080:80 9000", "Two ports; the first is http://127.0.0.1:8080."),
    ],
)
def publish(session: Session, args: Namespace) -> Any:
    """Publish."""
    try:
        wanted = [mapping for text in args.port for mapping in parse_publish(text)]
    except ValueError as error:
        raise UsageError(f"publish: {error}") from None
    machine = session.ec2.find_one(args.target)
    with session.progress(f"publishing ports of {label(machine)}"):
        done = [session.ec2.publish(machine, port.container_port, port.host_port or None) for port in wanted]
    return _table(((machine, port) for port in done), nothing="nothing")


@command(
    "unpublish",
    "Take ports of an instance off this machine",
    details="Connections through them are cut. A port that was published at launch stays: the engine holds it until "
    "the instance is terminated.",
    arguments=[TARGET, Argument("PORT", "The instance's port.", many=True)],
    examples=[Example(f"{MAGIC} unpublish web 8888", "Nothing here leads to that port any more.")],
)
def unpublish(session: Session, args: Namespace) -> Any:
    """Unpublish."""
    try:
        wanted = [whole(1, 65535)(text) for text in args.port]
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"unpublish: {error}") from None
    machine = session.ec2.find_one(args.target)
    for port in wanted:
        session.ec2.unpublish(machine, port)
    return Text(f"{label(machine)}: {', '.join(map(str, wanted))} unpublished")
