"""``run``: launch instances."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from .. import render
from ..failures import Interrupted
from ..parser import MAGIC, pair, publish, whole
from ..registry import Example, Option, command
from ..session import Session
from .common import NO_WAIT, TIMEOUT, limit, read_file, waiting

if TYPE_CHECKING:
    from ...handles import Instance


@command(
    "run",
    "Launch instances and wait until they run",
    details="Gives the instance, or a list of them with --count. The image is an AMI id or the name of a container "
    "image; without --image it is the default one (OBLAKO_EC2_IMAGE, else Amazon Linux 2023).",
    cell="the cell is the user data, a script that runs once as root at the first boot.",
    options=[
        Option(("--image",), "AMI id, or the name of any container image.", "IMAGE", completes="images"),
        Option(("--type",), "Instance type; it limits CPU and memory.", "TYPE"),
        Option(("--name",), "The Name tag.", "NAME"),
        Option(("--count",), "How many to launch.", "N", type=whole(1, 1000)),
        Option(
            ("--publish", "-p"), "Publish a TCP port of the instance on this machine.", "[HOST:]PORT", True, publish
        ),
        Option(("--key",), "Name of a key pair.", "NAME"),
        Option(("--sg",), "Name or id of a security group.", "GROUP", True),
        Option(("--subnet",), "Id of a subnet.", "SUBNET"),
        Option(("--profile",), "Name or ARN of an IAM instance profile.", "PROFILE"),
        Option(("--tag",), "A tag.", "KEY=VALUE", True, pair),
        Option(("--user-data",), "A file with the user data.", "FILE"),
        Option(("--volume",), "A further EBS volume of so many GiB.", "[DEVICE=]GIB", True),
        Option(("--no-container",), "Only the record, without a container."),
        NO_WAIT,
        Option(("--wait-user-data",), "Wait until the user data has run, and show its log meanwhile."),
        TIMEOUT,
    ],
    examples=[
        Example(
            f"web = {MAGIC} run --name web --publish 8080:80", "One instance; its port 80 is http://127.0.0.1:8080."
        ),
        Example(
            f"{MAGIC} run --image debian:12 --type t3.small --count 3 --tag Env=dev", "Three of another image, tagged."
        ),
        Example(
            f"%{MAGIC} run --name build --wait-user-data",
            "Runs the script at first boot and shows its output.",
            "#!/bin/sh\nmkdir -p /srv/build\n",
        ),
    ],
)
def run(session: Session, args: Namespace) -> Any:
    """Launch, and stream the user data's log where that was asked for."""
    preferences = session.preferences
    user_data = session.body
    if args.user_data:
        if user_data is not None:
            raise UsageError("run: the cell is the user data already; take --user-data off the line.")
        user_data = read_file(args.user_data, "The user data file")
    if args.wait_user_data and not user_data:
        raise UsageError("run: --wait-user-data needs user data: a cell or --user-data FILE.")
    if args.wait_user_data and args.no_wait:
        raise UsageError("run: --wait-user-data and --no-wait exclude each other.")
    what = args.name or "launch"
    with waiting(session, what) as on_change:
        machines = session.ec2.run(
            image=args.image or preferences.default_image or None,
            instance_type=args.type or preferences.default_type,
            name=args.name,
            count=args.count or 1,
            publish=tuple(args.publish),
            key=args.key,
            security_groups=tuple(args.sg),
            subnet=args.subnet,
            profile=args.profile,
            tags=dict(args.tag),
            user_data=user_data,
            volumes=tuple(args.volume),
            backed=not args.no_container,
            wait=not args.no_wait,
            on_change=on_change,
            **limit(session, args),
        )
    session.partial = machines[0] if len(machines) == 1 else machines
    if args.wait_user_data:
        for machine in machines:
            _follow(session, machine, args.timeout)
    return machines[0] if args.count in (None, 1) and len(machines) == 1 else machines


def _follow(session: Session, machine: Instance, timeout: float | None) -> None:
    with session.writer(hint=f"; {MAGIC} console {machine.id} has all of it") as writer:
        try:
            session.ec2.wait_user_data(machine, on_output=writer.out, timeout=timeout)
        except KeyboardInterrupt:
            raise Interrupted(
                f"stopped watching the user data of {render.label(machine)}; it goes on, "
                f"and {MAGIC} console {machine.id} shows its log."
            ) from None
