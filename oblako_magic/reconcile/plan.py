"""Decide what brings an instance from what is to what should be. Pure; no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..model import ContainerSpec, ContainerState, Reason, StateName, Wanted

ENGINE_DIED = 255
"""The exit code that Docker gives containers that it finds dead when it comes up: nobody stopped them.

A program can end with it, too: then the engine has been there all the time.
"""


_SHUTDOWN = (0, 128 + 10, 128 + 12, 128 + 15)
"""Exit codes of a shutdown from within: the signals that halt (USR1) and poweroff (USR2) of busybox and our own
commands (TERM) send to process 1."""


@dataclass(frozen=True)
class Desired:
    """What should be, as read from moto.

    Parameters
    ----------
    spec : ContainerSpec
    want : {"running", "stopped", "terminated"}
    generation : int
        Raised by each launch and each StartInstances.
    started : int
        The generation whose start was seen to work; 0 before the first.
    reboots, reboots_done : int
        RebootInstances that were asked for, and performed.
    on_shutdown : {"stop", "terminate"}
        InstanceInitiatedShutdownBehavior.
    same_boot : bool
        Whether the host has not been rebooted, and the engine not restarted, since it was last seen running.
    engine_run : str
        The run of the engine in which it was last seen running; empty where nobody knows.
    seen_running : bool
        Whether this very connection to the engine has shown it running: then the engine was not restarted since.
    user_data_waits : bool
        Whether there is user data that has not been started yet.
    remove_root_volume : bool
        Whether the root volume goes with the instance (DeleteOnTermination, or DeleteVolume afterwards).
    explicit_image : bool
        Whether somebody named this very image, so that none may stand in for it.
    """

    spec: ContainerSpec
    want: Wanted
    generation: int = 1
    started: int = 0
    reboots: int = 0
    reboots_done: int = 0
    on_shutdown: Literal["stop", "terminate"] = "stop"
    same_boot: bool = True
    engine_run: str = ""
    seen_running: bool = False
    user_data_waits: bool = False
    remove_root_volume: bool = True
    explicit_image: bool = False

    @property
    def may_start(self) -> bool:
        """Whether a start was asked for that has not been performed yet."""
        return self.generation > self.started


@dataclass(frozen=True)
class CreateContainer:
    """Make the container on its root volume; the volume is made when it is not there."""


@dataclass(frozen=True)
class StartContainer:
    """Start the container that is there."""


@dataclass(frozen=True)
class StopContainer:
    """Stop it, politely first."""


@dataclass(frozen=True)
class RestartContainer:
    """Reboot."""


@dataclass(frozen=True)
class RemoveContainer:
    """Stop and remove the container; its named volume stays."""


@dataclass(frozen=True)
class RemoveRootVolume:
    """Remove the root volume and the data in it."""


@dataclass(frozen=True)
class RunUserData:
    """Start the user data script."""


Action = (
    CreateContainer
    | StartContainer
    | StopContainer
    | RestartContainer
    | RemoveContainer
    | RemoveRootVolume
    | RunUserData
)


@dataclass(frozen=True)
class Plan:
    """What to do now, and what holds once it is done.

    Parameters
    ----------
    actions : tuple of Action
        In order.
    state : str
        The state to show when all actions have worked.
    want : {"running", "stopped", "terminated"} or None
        A wish that the instance itself has changed (it powered itself off); None leaves it.
    reason : Reason or None
        Why; None leaves what is there.
    impaired : str
        Why the instance can't be relied on though it counts as running; empty when all is well.
    """

    state: StateName
    actions: tuple[Action, ...] = field(default=())
    want: Wanted | None = None
    reason: Reason | None = None
    impaired: str = ""


def _ended(desired: Desired, actual: ContainerState) -> Plan:
    """The container of a running instance ended, and nobody asked for it."""
    if actual.oom_killed:
        reason = Reason("Client.InternalError", "The instance ran out of memory and was stopped (OOM)")
    elif actual.exit_code in _SHUTDOWN:
        reason = Reason("Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
    else:
        reason = Reason(
            "Server.InternalError", f"The instance's container ended by itself with exit code {actual.exit_code}"
        )
    if desired.on_shutdown == "terminate":
        return Plan("shutting-down", (RemoveContainer(), *_volumes(desired)), "terminated", reason)
    return Plan("stopped", (), "stopped", reason)


def _volumes(desired: Desired) -> tuple[Action, ...]:
    return (RemoveRootVolume(),) if desired.remove_root_volume else ()


def plan(desired: Desired, actual: ContainerState | None) -> Plan:
    """Compare and decide; see the module's tests for the whole table.

    Parameters
    ----------
    desired : Desired
    actual : ContainerState or None
        None where the engine has no container of the instance.
    """
    if desired.want == "terminated":
        remove: tuple[Action, ...] = (RemoveContainer(),) if actual else ()
        return Plan("terminated", remove + _volumes(desired))
    if desired.want == "stopped":
        return Plan("stopped", (StopContainer(),) if actual and actual.running else ())
    if actual is None:
        if desired.may_start:
            return Plan("running", (CreateContainer(), StartContainer()))
        return Plan(
            "running", impaired="its container was removed by hand; start it again to get a new one on its volume"
        )
    if not actual.running:
        lost = (actual.exit_code == ENGINE_DIED and not desired.seen_running) or not desired.same_boot
        if desired.may_start or lost:
            return Plan("running", (StartContainer(),))
        return _ended(desired, actual)
    if desired.reboots > desired.reboots_done:
        return Plan("running", (RestartContainer(),))
    if actual.status == "paused":
        return Plan("running", impaired="its container is paused; unpause it in the engine, or reboot it")
    ready = desired.user_data_waits and actual.status == "running"  # a restarting one takes no commands
    return Plan("running", (RunUserData(),) if ready else ())
