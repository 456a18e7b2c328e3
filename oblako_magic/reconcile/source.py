"""Where the loop's desired state comes from and its observed state goes to. Pure; no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from ..model import ContainerState, Reason, StateName, Wanted
from .plan import Desired


@dataclass(frozen=True)
class Observation:
    """What the loop tells of an instance.

    Parameters
    ----------
    state : str or None
        The EC2 state; None leaves it.
    container : ContainerState or None
        None where there is none, or it was not looked at (``looked`` False).
    want : {"running", "stopped", "terminated"} or None
        A changed wish: the instance ended by itself, or a launch failed.
    reason : Reason or None
    impaired, progress, note : str or None
        None leaves what is there.
    started, reboots_done : int or None
        Generations that were performed.
    engine_run : str or None
        The run of the engine in which it runs or was just started.
    user_data : str or None
    unchecked : bool or None
        Whether what it left in an engine is still to be looked at.
    looked : bool
    """

    state: StateName | None = None
    container: ContainerState | None = None
    want: Wanted | None = None
    reason: Reason | None = None
    impaired: str | None = None
    progress: str | None = None
    note: str | None = None
    started: int | None = None
    reboots_done: int | None = None
    engine_run: str | None = None
    user_data: str | None = None
    unchecked: bool | None = None
    looked: bool = False
    basis: Desired | None = None
    """What the state was derived from: where the wish has changed since, the state is out of date."""


class Source(Protocol):
    """Where desired state comes from and observed state goes to."""

    def desired(self, instance_id: str) -> Desired | None:
        """What should be; None for an instance that is not ours to work on."""

    def report(self, instance_id: str, seen: Observation) -> None:
        """Take note of what is."""

    def instance_ids(self) -> Iterable[str]:
        """All instances that have, or should have, a container."""

    def ports(self, instance_id: str, desired: Desired) -> Desired:
        """Fill in the host ports and keep them; raises ``PortTaken``."""

    def other_ports(self, instance_id: str) -> bool:
        """Give up host ports that the engine refuses; False where they can't be others."""
