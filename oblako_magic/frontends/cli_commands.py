"""What only ``oblako`` has, not the magics: the control plane's process, variables for a shell, and images.

The same shape as the subcommands of the magics, so that parsing and help are the same, too.
"""

from __future__ import annotations

import os
import runpy
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from ..environment import SERVICES, TEST_KEY
from .registry import Argument, Command, Example, Option
from .results import Table, Text
from .session import Session

if TYPE_CHECKING:
    from ..engine import Engine

PROGRAM = "oblako"
SHELLS = ("sh", "fish", "powershell", "cmd")


def up(session: Session, args: Namespace) -> Any:
    """Start the control plane."""
    if args.foreground:
        if session.ec2.status().running:
            raise UsageError(f"up: the control plane runs already; '{PROGRAM} down' stops it.")
        # By name, not by import: only controlplane/ itself knows moto.
        sys.argv = ["oblako_magic.controlplane"]
        runpy.run_module("oblako_magic.controlplane", run_name="__main__")
        return None
    session.ec2.start(wait=True)
    return Text(f'the control plane runs at {session.ec2.endpoint_url}; eval "$({PROGRAM} env)" leads aws to it')


def down(session: Session, args: Namespace) -> Any:
    """Stop the control plane."""
    if not session.ec2.status().running:
        return Text("the control plane is not running")
    session.ec2.stop()
    return Text(f"the control plane has stopped; instances go on, and '{PROGRAM} up' finds them again")


def env(session: Session, args: Namespace) -> Any:
    """Print variables for a shell."""
    shell = args.shell or "sh"
    if args.unset:
        ours = [name for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if os.environ.get(name) == TEST_KEY]
        return Text("\n".join(unset_lines(shell, [*SERVICES.values(), *ours])))
    variables = session.ec2.environment()
    if not session.ec2.status().running:
        print(f"{PROGRAM}: the control plane is not running yet; '{PROGRAM} up' starts it.", file=sys.stderr)
    return Text("\n".join(export_lines(shell, variables.items())))


def export_lines(shell: str, variables: Iterable[tuple[str, str]]) -> list[str]:
    """The lines that set variables in a shell, quoted as it needs them."""
    if shell == "fish":
        return ["set -gx {} '{}';".format(k, v.replace("\\", "\\\\").replace("'", "\\'")) for k, v in variables]
    if shell == "powershell":
        return ["$Env:{} = '{}'".format(k, v.replace("'", "''")) for k, v in variables]
    if shell == "cmd":
        return [f'set "{name}={value}"' for name, value in variables]
    return [f"export {name}={shlex.quote(value)}" for name, value in variables]


def unset_lines(shell: str, names: Iterable[str]) -> list[str]:
    """The lines that unset variables in a shell."""
    form = {
        "fish": "set -e {};",
        "powershell": "Remove-Item Env:{} -ErrorAction SilentlyContinue",
        "cmd": 'set "{}="',
    }.get(shell, "unset {}")
    return [form.format(name) for name in names]


def image(session: Session, args: Namespace) -> Any:
    """Build an image, or list those that are here."""
    from ..engine import connect
    from ..settings import Settings

    engine = connect(Settings.from_env())
    try:
        if args.action == "ls":
            return _images_here(engine)
        return Text(f"{_build(engine, args)} is here; {PROGRAM} run --image NAME takes it")
    finally:
        engine.close()


def _images_here(engine: Engine) -> Table:
    from .. import names
    from ..engine import images

    built = dict(images.built_here(engine))
    rows = [
        {
            "image": name,
            "built": built.get(name, {}).get(names.LABEL_BUILT, ""),
            "version": built.get(name, {}).get(names.LABEL_VERSION, ""),
            "note": images.Image(name, labels=built.get(name, {})).stale,
        }
        for name in images.names_here(engine)
    ]
    columns = {"image": "Image", "built": "Built here", "version": "oblako_magic"}
    if any(row["note"] for row in rows):
        columns["note"] = "Note"
    return Table(rows, columns, nothing="no images")


def _build(engine: Engine, args: Namespace) -> str:
    from ..engine import build

    if args.name == "tiny":
        return build.build_tiny(engine.api, force=args.force)
    make = build.build_notebook if args.name == "notebook" else build.build_base
    return make(engine.api, lambda line: print(line, flush=True), force=args.force)


OWN: dict[str, Command] = {
    command.name: command
    for command in (
        Command(
            "up",
            "Start the control plane where it doesn't run",
            up,
            options=(Option(("--foreground",), "Stay in the foreground, with the log on the screen."),),
            examples=(Example(f"{PROGRAM} up", "Starts it, or says where it runs."),),
            returns=False,
            offline=True,
        ),
        Command(
            "down",
            "Stop the control plane; instances go on",
            down,
            examples=(Example(f"{PROGRAM} down", "Stops it; the state is kept."),),
            returns=False,
            offline=True,
        ),
        Command(
            "env",
            "Print the variables that lead AWS clients to the control plane",
            env,
            options=(
                Option(("--unset",), "Print what takes them back."),
                Option(("--shell",), "For which shell; sh by default.", "SHELL", choices=SHELLS),
            ),
            examples=(
                Example(f'eval "$({PROGRAM} env)"', "From here on 'aws ec2 describe-instances' means this machine."),
            ),
            returns=False,
            offline=True,
        ),
        Command(
            "image",
            "Build an image from packages, or list those that are here",
            image,
            arguments=(
                Argument("ACTION", "build or ls.", choices=("build", "ls")),
                Argument(
                    "NAME",
                    "base, the default image's stand-in; notebook, with JupyterLab; or tiny, of 2 MB.",
                    required=False,
                    choices=("base", "notebook", "tiny"),
                ),
            ),
            options=(Option(("--force",), "Build it also where it exists."),),
            examples=(
                Example(f"{PROGRAM} image build base", "For machines that can't reach a registry."),
                Example(f"{PROGRAM} image build notebook --force", "JupyterLab with this version of oblako_magic."),
            ),
            returns=False,
            offline=True,
        ),
    )
}
