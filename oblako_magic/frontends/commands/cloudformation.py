"""``stack``: create or update a CloudFormation stack."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from IPython.core.error import UsageError

from ..failures import Interrupted
from ..parser import MAGIC, pair
from ..registry import Argument, Example, Option, command
from ..results import StackResult
from ..session import Session
from .common import read_file


@command(
    "stack",
    "Create or update a CloudFormation stack",
    arguments=[Argument("NAME", "The stack's name.")],
    options=[
        Option(("--parameter",), "A value for one of the template's parameters.", "KEY=VALUE", True, pair),
        Option(("--template",), "A file with the template, in place of a cell.", "FILE"),
    ],
    cell="the cell is the template, YAML or JSON.",
    examples=[
        Example(
            f"%{MAGIC} stack demo --parameter Type=t3.small",
            "Creates the stack, or updates it; its instances are containers too.",
            "Parameters:\n  Type: {Type: String}\nResources:\n  Web:\n    Type: AWS::EC2::Instance\n"
            "    Properties: {ImageId: 'debian:12', InstanceType: !Ref Type}\n",
        ),
        Example(f"{MAGIC} stack demo --template demo.yaml", "The same from a file."),
    ],
)
def stack(session: Session, args: Namespace) -> Any:
    """Deploy."""
    template = session.body
    if args.template:
        if template is not None:
            raise UsageError("stack: the cell is the template already; take --template off the line.")
        template = read_file(args.template, "The template")
    if not template or not template.strip():
        raise UsageError(
            f"stack: give the template, as the cell of %{MAGIC} stack {args.name} or with --template FILE."
        )
    with session.progress(f"stack {args.name}") as line:
        try:
            result = session.ec2.deploy(
                args.name,
                template,
                parameters=dict(args.parameter) or None,
                on_event=lambda event: line.update(f"stack {args.name}: {event}"),
            )
        except KeyboardInterrupt:
            raise Interrupted(f"stopped waiting for stack {args.name}; what was begun goes on.") from None
    return StackResult({"StackName": args.name, **result})
