"""Plain data that the layers hand to each other. Pure; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

StateName = Literal["pending", "running", "stopping", "stopped", "shutting-down", "terminated"]
Wanted = Literal["running", "stopped", "terminated"]

STATE_CODES: Mapping[str, int] = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}
"""EC2's instance state codes (API reference, InstanceState)."""


@dataclass(frozen=True)
class Reason:
    """Why an instance is in its state (API reference, StateReason)."""

    code: str = ""
    message: str = ""


@dataclass(frozen=True)
class PortMapping:
    """One published port.

    Parameters
    ----------
    container_port : int
        TCP port that the instance listens on.
    host_port : int
        TCP port on the host; 0 while none was chosen yet.
    host : str
        Address on the host.
    live : bool
        Whether the control plane carries its connections, and not the engine: it can be unpublished.
    """

    container_port: int
    host_port: int = 0
    host: str = "127.0.0.1"
    live: bool = False

    @property
    def url(self) -> str:
        """The link that a browser on this machine opens."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host
        return f"http://{host}:{self.host_port}"


@dataclass(frozen=True)
class Limits:
    """CPU and memory of an instance type, clipped to the host; None is no limit."""

    vcpus: float | None = None
    memory_mib: int | None = None


@dataclass(frozen=True)
class ContainerSpec:
    """All that is needed to make an instance's container.

    Parameters
    ----------
    instance_id : str
    image : str
    command : tuple of str or None
        In place of the image's own.
    hostname : str
    ports : tuple of PortMapping
    limits : Limits
    labels : mapping of str to str
    user : str
        Whom process 1 belongs to; empty leaves it to the image.
    replace_entrypoint : bool
        Whether ``command`` also takes the place of the image's ENTRYPOINT.
    also_mounted_at : tuple of str
        Further places of the root volume.
    internet : bool
        Whether it reaches more than this host and its published ports are reached from it.
    """

    instance_id: str
    image: str
    command: tuple[str, ...] | None = None
    hostname: str = ""
    ports: tuple[PortMapping, ...] = ()
    limits: Limits = Limits()
    labels: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    replace_entrypoint: bool = False
    also_mounted_at: tuple[str, ...] = ()
    internet: bool = True


@dataclass(frozen=True)
class ContainerState:
    """What an engine says of an instance's container.

    Parameters
    ----------
    instance_id : str
    container_id : str
    status : str
        The engine's word: ``created``, ``running``, ``paused``, ``restarting``, ``exited``, ``dead``.
    exit_code : int
        Of an ended container.
    oom_killed : bool
        Whether the kernel ended it for its memory.
    address : str
        Its address on the engine's bridge; empty while it does not run.
    image : str
    labels : mapping of str to str
    started_at, finished_at : str
        The engine's time stamps.
    ports : tuple of PortMapping
    """

    instance_id: str
    container_id: str
    status: str
    exit_code: int = 0
    oom_killed: bool = False
    address: str = ""
    image: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    started_at: str = ""
    finished_at: str = ""
    ports: tuple[PortMapping, ...] = ()

    @property
    def running(self) -> bool:
        """Whether processes of the instance run now."""
        return self.status in {"running", "paused", "restarting"}


@dataclass
class Backing:
    """What the control plane keeps of an instance beside moto's own record; saved along with it.

    Parameters
    ----------
    want : {"running", "stopped", "terminated"}
        What the clients asked for last.
    written : str
        The state that was last written to moto's record: another one there is a client's wish.
    generation, started : int
        Launches and starts that were asked for, and the last one that was seen to work.
    reboots, reboots_done : int
        The same of reboots.
    backed : bool
        False: there is no container, moto alone holds the instance.
    image : str
        The container image, once it is known.
    container_id, address : str
        Of the container, as last seen.
    ports : tuple of PortMapping
        Published ports with the host ports that they keep.
    live : tuple of PortMapping
        The same of ports that were published on the instance later on, which the control plane carries.
    impaired, note, progress : str
        Why it can't be relied on; a line that the user should see; what takes long just now.
    user_data : str
        Empty, ``waiting``, ``running``, ``done``, ``failed (exit N)`` or ``not run (...)``.
    boot_id : str
        The host's boot in which it was last seen running.
    engine_run : str
        The run of the engine in which it was last seen running.
    root_volume_id : str
        The EBS volume that the container's volume stands for.
    unchecked : bool
        Whether it was given up while no engine answered: what it may have left there is still to be removed.
    root_kept : bool
        Whether the root volume outlives the instance.
    ended : float
        When it was first seen terminated, in seconds since 1970; 0 before.
    """

    want: Wanted = "running"
    written: str = "pending"
    generation: int = 1
    started: int = 0
    reboots: int = 0
    reboots_done: int = 0
    backed: bool = True
    image: str = ""
    container_id: str = ""
    address: str = ""
    ports: tuple[PortMapping, ...] = ()
    impaired: str = ""
    note: str = ""
    progress: str = ""
    user_data: str = ""
    boot_id: str = ""
    engine_run: str = ""
    root_volume_id: str = ""
    unchecked: bool = False
    root_kept: bool = False
    ended: float = 0.0
    # A state file from before has no such value; the class's own is taken then.
    live: tuple[PortMapping, ...] = ()


def parse_publish(text: str) -> tuple[PortMapping, ...]:
    """Read ``[HOST_PORT:]PORT[,...]``.

    Raises
    ------
    ValueError
        With a sentence for the user.
    """
    mappings: list[PortMapping] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        host, _, inner = item.rpartition(":")
        try:
            mapping = PortMapping(int(inner), int(host) if host else 0)
        except ValueError:
            raise ValueError(f"{item!r} is not a port; give PORT or HOST_PORT:PORT, such as 8888 or 8080:80.") from None
        if not 1 <= mapping.container_port <= 65535 or not 0 <= mapping.host_port <= 65535:
            raise ValueError(f"{item!r} is not a port; ports go from 1 to 65535.")
        if all(mapping.container_port != other.container_port for other in mappings):
            mappings.append(mapping)
    return tuple(mappings)
