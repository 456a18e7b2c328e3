"""What a subcommand has at hand: the cloud, the place to write to, and the user's names.

The same subcommands run in a notebook and in a terminal; only the session differs.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import progress, stream
from .expand import Expander
from .jobs import Job

if TYPE_CHECKING:
    from ..cloud import Ec2
    from .switch import Switch


@dataclass(frozen=True)
class Preferences:
    """What ``%config Ec2Magics`` sets.

    Parameters
    ----------
    default_type : str
        Instance type of ``run`` without ``--type``.
    default_image : str
        Image of ``run`` without ``--image``; empty leaves the choice to the settings.
    timeout : float
        Seconds that a wait lasts without ``--timeout``; 0 leaves it to each subcommand.
    output_limit : int
        Characters of a command's output that are shown.
    progress : bool
        Whether long waits show what they wait for.
    """

    default_type: str = "t3.micro"
    default_image: str = ""
    timeout: float = 0.0
    output_limit: int = stream.SHOWN
    progress: bool = True


@dataclass
class Session:
    """One call of a subcommand.

    Parameters
    ----------
    connect : callable
        Gives the ``Ec2``; called on first need, so that help works without anything.
    names : mutable mapping
        The user's variables.
    expander : Expander
        Expands what a subcommand reads from the line itself.
    shell : InteractiveShell or None
        None in a terminal command.
    body : str or None
        The cell's body; None on a line.
    tail : str or None
        The rest of the line, where it is a command on the instance.
    switch : Switch or None
        The variables of this kernel.
    """

    connect: Callable[[], Ec2]
    names: MutableMapping[str, Any] = field(default_factory=dict)
    expander: Expander = field(default_factory=lambda: Expander({}))
    preferences: Preferences = field(default_factory=Preferences)
    shell: Any = None
    body: str | None = None
    tail: str | list[str] | None = None
    switch: Switch | None = None
    jobs: list[Job] = field(default_factory=list)
    partial: Any = None
    """What a failing subcommand has so far, such as the instance that did not start: ``-o`` binds it."""

    @property
    def ec2(self) -> Ec2:
        """The cloud."""
        return self.connect()

    def ready(self) -> Ec2:
        """The cloud with its control plane running: the first call of all may have to start it, and says so."""
        ec2 = self.connect()
        with self.progress("starting the control plane"):
            ec2.start(wait=True)
        return ec2

    def progress(self, text: str) -> progress.Progress:
        """A line that shows what is waited for."""
        where = progress.sink(self.shell) if self.preferences.progress else None
        return progress.Progress(where, text)

    def show(self, value: Any) -> None:
        """Display a value beside the result, at once."""
        from IPython import display as ipython_display

        display: Any = ipython_display.display
        display(value)

    def writer(self, *, keep: bool = False, hint: str = "") -> stream.OutputWriter:
        """Where a command's output goes."""
        # IPython in a terminal writes its "Out[1]:" below; a notebook has its own place for that.
        below = self.shell is not None and getattr(self.shell, "kernel", None) is None
        return stream.OutputWriter(self.preferences.output_limit, keep=keep, hint=hint, end_line=below)
