"""``exec``, ``logs``, ``console`` and ``cp``: reach into instances."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from .. import render
from ..failures import Interrupted
from ..jobs import Job
from ..parser import MAGIC, pair, seconds, variable, whole
from ..registry import Argument, Example, Option, command
from ..results import Text
from ..session import Session
from .common import TARGET

if TYPE_CHECKING:
    from ...handles import Instance


@command(
    "exec",
    "Run a command or a script on an instance",
    details="On a line, the words after TARGET are a shell command, as after an exclamation mark; options for exec "
    "itself come before it. Output is shown while it comes; the exit code is kept in the result and shown where it "
    "isn't 0. Interrupting the kernel stops the command.",
    cell="the cell is a script; it runs by the program that its first line names (#!/usr/bin/env python3), else by "
    "/bin/sh.",
    arguments=[TARGET, Argument("COMMAND", "The command, up to the end of the line.", many=True, required=False)],
    options=[
        Option(("--user", "-u"), "Run as this user instead of root.", "USER"),
        Option(("--env", "-e"), "Set an environment variable.", "KEY=VALUE", True, pair),
        Option(("--workdir", "-w"), "Run in this directory.", "DIR"),
        Option(("--timeout",), "Stop the command after this long: seconds, or 2m, or 1h.", "TIME", type=seconds),
        Option(("--out",), "Bind standard output to this variable.", "VAR", type=variable, magic_only=True),
        Option(("--err",), "Bind standard error to this variable.", "VAR", type=variable, magic_only=True),
        Option(
            ("--bg",), "Run in the background; gives a handle with wait(), output, result and stop().", magic_only=True
        ),
    ],
    tail=True,
    examples=[
        Example(f"{MAGIC} exec web ls -la --color /srv", "Options after the target are the command's own."),
        Example(
            f"%{MAGIC} exec web --env LEVEL=3 --out report",
            "Runs the script and keeps what it prints in report.",
            "#!/bin/sh\ndf -h /ebs\n",
        ),
        Example(f"job = {MAGIC} exec --bg web sleep 60", "job.wait() waits for it, job.stop() ends it."),
    ],
)
def execute(session: Session, args: Namespace) -> Any:
    """Run, stream, and keep the exit code."""
    # Imported here: it needs the cloud, which loading the extension doesn't.
    from ..outcome import Outcome

    script = session.tail if session.body is None else session.body
    if session.body is not None and session.tail:
        raise UsageError(
            "exec: the cell is the script; take the command off the first line, or name it as #!/path in the cell."
        )
    if not script or not script[0].strip():
        raise UsageError(f"exec: what shall run? For example {MAGIC} exec {args.target} uname -a")
    machine = session.ec2.find_one(args.target)
    options = {"user": args.user, "env": dict(args.env) or None, "workdir": args.workdir, "timeout": args.timeout}
    if getattr(args, "bg", False):
        return _background(session, args, machine, script, options)
    keep = bool(getattr(args, "out", None) or getattr(args, "err", None))
    hint = " but --out and --err keep it" if keep else "; --out VAR keeps all of it"
    with session.writer(keep=keep, hint=hint) as writer:
        try:
            result = session.ec2.exec(machine, script, on_stdout=writer.out, on_stderr=writer.err, **options)
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted; the command on {render.label(machine)} was stopped.") from None
        finally:
            _bind(session, args, writer.text("out"), writer.text("err"))
    return Outcome.of(machine, result)


def _background(
    session: Session, args: Namespace, machine: Instance, script: str | list[str], options: dict[str, Any]
) -> Job:
    job = Job(session.ec2, machine, script, options, lambda done: _bind(session, args, done.output, done.errors))
    session.jobs[:] = [other for other in session.jobs if other.running]
    session.jobs.append(job)
    return job


def _bind(session: Session, args: Namespace, out: str, err: str) -> None:
    # In a terminal there are no such options.
    for name, text in ((getattr(args, "out", None), out), (getattr(args, "err", None), err)):
        if name:
            session.names[name] = text


@command(
    "logs",
    "Show what an instance's main process writes",
    arguments=[TARGET],
    options=[
        Option(("--follow", "-f"), "Go on showing what comes, until interrupted."),
        Option(("--tail",), "Only the last lines, this many.", "LINES", type=whole(0, 10_000_000)),
    ],
    examples=[Example(f"{MAGIC} logs -f --tail 20 web", "The last lines, then what comes; interrupting ends it.")],
)
def logs(session: Session, args: Namespace) -> Any:
    """Show or follow."""
    machine = session.ec2.find_one(args.target)
    if not args.follow:
        return Text(session.ec2.logs(machine, tail=args.tail))
    with session.writer(hint=f"; {MAGIC} logs {machine.id} has all of it") as writer:
        try:
            session.ec2.logs(machine, follow=True, tail=args.tail, on_output=writer.out)
        except KeyboardInterrupt:
            # The only way to end it, so it's no failure.
            return None
    return None


@command(
    "console",
    "Show the console output: boot and user data",
    arguments=[TARGET],
    examples=[Example(f"{MAGIC} console web", "What GetConsoleOutput gives: the way to see why user data failed.")],
)
def console(session: Session, args: Namespace) -> Any:
    """Show."""
    return Text(session.ec2.console(session.ec2.find_one(args.target)))


@command(
    "cp",
    "Copy a file or folder to an instance or from it",
    arguments=[
        Argument("SOURCE", "A path here, or TARGET:/path.", completes="instances"),
        Argument("DESTINATION", "TARGET:/path, or a path here.", completes="instances"),
    ],
    examples=[
        Example(f"{MAGIC} cp site web:/srv/site", "Copies a folder onto the instance."),
        Example(f"{MAGIC} cp web:/var/log/app.log .", "Copies a file from it."),
    ],
)
def cp(session: Session, args: Namespace) -> Any:
    """Copy."""
    with session.progress(f"copying {args.source}"):
        count = session.ec2.copy(args.source, args.destination)
    return Text(f"{args.source} -> {args.destination}: {render.size(count)}")
