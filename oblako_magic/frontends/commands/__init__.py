"""The subcommands. Importing this package fills the registry.

Each module holds one kind; a subcommand is a function ``run(session, args)`` that asks ``session.ec2`` and
returns what it got. No rule of EC2 is decided here.
"""

from . import cloudformation, control, guest, launch, lifecycle, look, notebook, panel, ports, shell

__all__ = ["cloudformation", "control", "guest", "launch", "lifecycle", "look", "notebook", "panel", "ports", "shell"]
