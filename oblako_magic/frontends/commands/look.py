"""``ls``, ``show``, ``stats`` and ``images``: look, and change nothing."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from ..parser import MAGIC
from ..registry import Argument, Example, Option, command
from ..results import StatsList, Table
from ..session import Session
from .common import FILTER, TARGETS, targets


@command(
    "ls",
    "List instances",
    options=[Option(("--all", "-a"), "Terminated ones too."), FILTER],
    examples=[
        Example(f"{MAGIC} ls --all", "All instances, terminated ones too."),
        Example(f"machines = {MAGIC} ls --filter tag:Env=dev", "A list of handles to go through."),
        Example(f"{MAGIC} ls --json", "The same as JSON text."),
    ],
)
def ls(session: Session, args: Namespace) -> Any:
    """List."""
    return session.ec2.instances(all=args.all, filters=args.filter)


@command(
    "show",
    "Show all there is to know about an instance",
    arguments=[Argument("TARGET", TARGETS.help + " The last one by default.", required=False, completes="targets")],
    examples=[
        Example(f"{MAGIC} show web", "Ports, addresses, image, volumes, tags, and why it is in its state."),
        Example(f"web = {MAGIC} show web", "Gives the handle: web.id, web.state, web.exec('ls')."),
    ],
)
def show(session: Session, args: Namespace) -> Any:
    """Show one."""
    return session.ec2.find_one(args.target or "@last")


@command(
    "stats",
    "Show CPU, memory and network use of running instances",
    arguments=[Argument("TARGET", TARGETS.help + " All running ones by default.", True, False, completes="targets")],
    options=[FILTER],
    examples=[Example(f"{MAGIC} stats web", "One look; run it again for the next.")],
)
def stats(session: Session, args: Namespace) -> Any:
    """Measure."""
    if args.target:
        machines = targets(session, args)
    else:
        machines = session.ec2.instances(filters=[*args.filter, "instance-state-name=running"])
    return StatsList(session.ec2.stats(machines)) if machines else StatsList()


@command(
    "images",
    "List the images to launch from",
    examples=[Example(f"{MAGIC} images", "AMIs of the catalog and your own, and which are on this machine.")],
)
def images(session: Session, args: Namespace) -> Any:
    """List images."""
    columns = {
        "image_id": "AMI",
        "name": "Name",
        "image": "Container image",
        "local": "Here",
        "description": "Description",
    }
    return Table(session.ec2.images(), columns, nothing="no images")
