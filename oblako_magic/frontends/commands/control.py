"""``env``, ``status``, ``doctor`` and ``client``: the control plane, the engine and this kernel's AWS clients."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from ..parser import MAGIC
from ..registry import Argument, Example, Option, command
from ..render import orphan_text
from ..results import Overview, Table, Text
from ..session import Session
from ..switch import sentence

if TYPE_CHECKING:
    from ...handles import Orphan


@command(
    "env",
    "Lead this kernel's AWS clients to the local cloud, or back",
    arguments=[Argument("ACTION", "on, off, or show (the default).", required=False, choices=("on", "off", "show"))],
    details="The variables AWS_ENDPOINT_URL_* are set for the services that the control plane serves; test keys and a "
    "region only where you have none. S3 and all else go where they went.",
    magic_only=True,
    offline=True,
    examples=[
        Example(f"{MAGIC} env", "Shows what is set in this kernel."),
        Example(f"{MAGIC} env off", "boto3.client('ec2') means the real AWS again; %ec2 works all the same."),
    ],
)
def env(session: Session, args: Namespace) -> Any:
    """Switch or show."""
    switch = session.switch
    if switch is None:
        raise UsageError("env: there is no kernel here; 'oblako env' prints the variables.")
    if args.action == "on":
        switch.on(session.ec2.environment())
        return Text(sentence(switch.variables))
    if args.action == "off":
        switch.off()
        return Text(
            "oblako_magic: boto3 and aws in this kernel use what they used before (%ec2 env on turns them back)"
        )
    rows = [{"variable": name, "value": value} for name, value in switch.variables.items()]
    return Table(rows, {"variable": "Variable", "value": "Value"}, nothing=f"off; {MAGIC} env on sets the variables")


@command(
    "status",
    "Show the control plane, the engine and how many instances there are",
    offline=True,
    examples=[Example(f"{MAGIC} status", "Looks only: starts nothing.")],
)
def status(session: Session, args: Namespace) -> Any:
    """Look."""
    return session.ec2.status()


def overview(session: Session) -> Overview:
    """What ``%ec2`` alone shows."""
    state = session.ready().status()
    machines = session.ec2.instances()
    if not state.engine:
        step = f"No container engine answers; {MAGIC} doctor says what to do."
    elif not machines:
        step = f"Next: {MAGIC} run --name web --publish 80 launches an instance; {MAGIC}? lists the subcommands."
    else:
        step = f"Next: {MAGIC} exec {machines[0].name or machines[0].id} uname -a; {MAGIC}? lists the subcommands."
    return Overview(state, machines, step)


@command(
    "doctor",
    "Check the engine, the control plane and look for orphans",
    offline=True,
    arguments=[Argument("NAME", "Orphans to adopt or remove; all by default.", many=True, required=False)],
    options=[
        Option(("--adopt",), "Give orphaned containers their instance records back."),
        Option(("--remove",), "Delete orphaned containers and volumes with the data in them."),
    ],
    details="An orphan is a container or volume of this control plane that it has no record of. It is never removed "
    "unless you say so.",
    examples=[
        Example(f"{MAGIC} doctor", "What is wrong, each with the next step."),
        Example(f"{MAGIC} doctor --adopt", "Takes all orphans in again."),
    ],
)
def doctor(session: Session, args: Namespace) -> Any:
    """Check, adopt or remove."""
    if args.adopt and args.remove:
        raise UsageError("doctor: --adopt and --remove exclude each other.")
    if args.name and not (args.adopt or args.remove):
        raise UsageError("doctor: say what to do with it, --adopt or --remove.")
    report = session.ec2.doctor()
    if not (args.adopt or args.remove):
        return report
    act, word = (session.ec2.adopt, "adopted") if args.adopt else (session.ec2.remove, "removed")
    lines = []
    for orphan in _chosen(report.orphans, args.name):
        act(orphan)
        lines.append(f"{word} {orphan_text(orphan)}")
    return Text("\n".join(lines) or "no orphans")


def _chosen(orphans: Sequence[Orphan], names: Sequence[str]) -> list[Orphan]:
    mine = [orphan for orphan in orphans if not orphan.foreign]
    for name in names:
        if not any(name in (orphan.name, orphan.instance_id) for orphan in mine):
            raise UsageError(f"doctor: there is no orphan {name} of this control plane; {MAGIC} doctor lists them.")
    return [orphan for orphan in mine if not names or orphan.name in names or orphan.instance_id in names]


@command(
    "client",
    "Give a boto3 client of the local cloud",
    arguments=[Argument("NAME", "The service, as boto3 names it.")],
    options=[Option(("--region",), "Another region than the default one.", "REGION")],
    magic_only=True,
    examples=[
        Example(f"autoscaling = {MAGIC} client autoscaling", "The same as boto3.client, wherever the variables lead.")
    ],
)
def client(session: Session, args: Namespace) -> Any:
    """Make a client."""
    return session.ec2.get_client(args.name, region=args.region)
