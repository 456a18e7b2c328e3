"""``ls``, ``show``, ``events``, ``map``, ``stats`` and ``images``: look, and change nothing."""

from __future__ import annotations

import itertools
import json
from argparse import Namespace
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..parser import MAGIC, whole
from ..registry import Argument, Example, Option, command
from ..results import Events, StatsList, Table, to_plain
from ..session import Session
from .common import FILTER, TARGETS, targets

if TYPE_CHECKING:
    from ...events import Event


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
    return session.ec2.find_one(args.target or "@last", terminated=True)


@command(
    "events",
    "Show what changed and who did it",
    details="Whoever did it: a cell, a button, boto3, the AWS CLI, a stack, an Auto Scaling group, the instance itself "
    "or somebody in the engine. The control plane keeps the last 1,000 events in memory; a new start begins a new log.",
    arguments=[
        Argument(
            "TARGET",
            "Only what is about these: ids or their beginnings, Name tags, patterns, or a kind such as instance.",
            many=True,
            required=False,
            completes="targets",
        )
    ],
    options=[
        Option(("--follow", "-f"), "Go on showing what comes, until interrupted."),
        Option(("--tail",), "Only the last ones, this many.", "EVENTS", type=whole(0, 1000)),
    ],
    examples=[
        Example(f"{MAGIC} events web", "Who has stopped web, and when."),
        Example(f"{MAGIC} events -f --tail 0", "Shows what happens from now on; interrupting ends it."),
    ],
)
def events(session: Session, args: Namespace) -> Any:
    """Show or follow."""

    def chosen(found: Iterable[Event]) -> list[Event]:
        return [event for event in found if not args.target or any(map(event.concerns, args.target))]

    so_far = session.ec2.events()
    shown = chosen(so_far)
    if args.tail is not None:
        shown = shown[len(shown) - min(args.tail, len(shown)) :]
    if not args.follow:
        if args.target and so_far and not shown and args.tail != 0:
            return Events(none=f"no event is about {' or '.join(args.target)}; {MAGIC} events shows all")
        return Events(shown)
    with session.writer(hint=f"; {MAGIC} events shows them") as writer:
        try:
            for event in itertools.chain(shown, session.ec2.events(since=so_far.last, log=so_far.log, follow=True)):
                if chosen([event]):
                    writer.out(f"{json.dumps(to_plain(event), ensure_ascii=False) if args.json else event}\n")
        except KeyboardInterrupt:
            # The only way to end it, so it's no failure.
            return None
    return None


@command(
    "map",
    "Draw VPCs, subnets, instances, security groups and ports",
    details="A picture in a notebook, with the links of published ports; a tree in a terminal.",
    arguments=[Argument("TARGET", TARGETS.help + " All by default.", True, False, completes="targets")],
    options=[FILTER, Option(("--svg",), "Write the picture to this file, too.", "FILE")],
    examples=[
        Example(f"{MAGIC} map", "All of the region."),
        Example(f"{MAGIC} map --svg cloud.svg web-*", "Some instances with what they are in, and as a file."),
    ],
)
def draw(session: Session, args: Namespace) -> Any:
    """Draw."""
    picture = session.ec2.map(targets(session, args) if args.target or args.filter else None)
    if args.svg:
        picture.save(args.svg)
    return picture


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
