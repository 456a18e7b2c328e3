"""What the Python API hands out: instances, results, reports. Plain data and thin methods; no I/O of its own."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .model import PortMapping

if TYPE_CHECKING:
    from .cloud import Ec2


@dataclass(frozen=True)
class ExecResult:
    """How a command on an instance ended.

    Parameters
    ----------
    exit_code : int
    stdout, stderr : str
        All of it; the last MiB of each where it was streamed.
    """

    exit_code: int
    stdout: str = ""
    stderr: str = ""

    @property
    def ok(self) -> bool:
        """Whether the exit code is 0."""
        return self.exit_code == 0

    def __str__(self) -> str:
        return self.stdout


@dataclass(frozen=True)
class Stats:
    """One reading of an instance's figures; bytes unless the name says otherwise."""

    instance_id: str
    name: str
    cpu_percent: float
    memory_bytes: int
    memory_limit: int
    pids: int
    net_rx: int
    net_tx: int


@dataclass(frozen=True)
class Check:
    """One line of ``doctor``."""

    name: str
    ok: bool
    detail: str
    next_step: str = ""


@dataclass(frozen=True)
class Orphan:
    """A container or volume with our labels and without a record.

    Parameters
    ----------
    kind : {"container", "volume"}
    name, instance_id, detail : str
    foreign : bool
        Whether it belongs to another control plane: then it is shown and left alone.
    """

    kind: Literal["container", "volume"]
    name: str
    instance_id: str
    detail: str
    foreign: bool


@dataclass(frozen=True)
class Report:
    """What ``doctor`` found."""

    checks: list[Check]
    orphans: list[Orphan]

    @property
    def ok(self) -> bool:
        """Whether nothing needs doing."""
        return all(check.ok for check in self.checks) and not any(not orphan.foreign for orphan in self.orphans)


@dataclass(frozen=True)
class Status:
    """The control plane and the engine as they are.

    Parameters
    ----------
    running : bool
    endpoint : str
        Known even while nothing runs.
    pid : int
    version, state_dir, log_file : str
    engine, engine_error : str
        Which engine answers, or why none does.
    counts : dict of str to int
        Instances by state, over all accounts and regions.
    notices : list of str
        What the user should know, such as a state file that was set aside.
    """

    running: bool
    endpoint: str
    pid: int = 0
    version: str = ""
    state_dir: str = ""
    log_file: str = ""
    engine: str = ""
    engine_error: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


@dataclass
class Instance:
    """A handle on one instance: a snapshot that ``refresh`` brings up to date in place.

    Parameters
    ----------
    id, state, name, type, image_id, zone, region, account, private_ip, public_ip, vpc_id, subnet_id, key_name : str
        As DescribeInstances has them; ``name`` is the Name tag.
    image : str
        The container image; empty while it is not known or there is none.
    profile : str
        The name of the IAM instance profile.
    security_groups : list of str
        ``name (id)``.
    tags : dict of str to str
    launch_time : datetime or None
    reason, reason_code : str
        StateReason.
    backed : bool
        False: simulated, there is no container.
    impaired, impairment : bool, str
        Whether, and why, it can't be relied on although it counts as running.
    ports : list of PortMapping
    container, container_id : str
    user_data : str
        Empty, ``waiting``, ``running``, ``done``, ``failed (exit N)`` or ``not run (...)``.
    progress, note : str
        What takes long just now; a line that the user should see.
    volumes : list of dict
        ``device``, ``volume_id``, ``delete_on_termination``.
    """

    id: str
    state: str = "pending"
    name: str = ""
    type: str = ""
    image_id: str = ""
    image: str = ""
    zone: str = ""
    region: str = ""
    account: str = ""
    private_ip: str = ""
    public_ip: str = ""
    vpc_id: str = ""
    subnet_id: str = ""
    key_name: str = ""
    profile: str = ""
    security_groups: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    launch_time: datetime.datetime | None = None
    reason: str = ""
    reason_code: str = ""
    backed: bool = True
    impaired: bool = False
    impairment: str = ""
    ports: list[PortMapping] = field(default_factory=list)
    container: str = ""
    container_id: str = ""
    user_data: str = ""
    progress: str = ""
    note: str = ""
    volumes: list[dict[str, Any]] = field(default_factory=list)
    ec2: Ec2 | None = field(default=None, repr=False, compare=False)

    @property
    def _ec2(self) -> Ec2:
        if self.ec2 is None:
            raise ValueError("this Instance was not made by an Ec2")
        return self.ec2

    @property
    def label(self) -> str:
        """``i-0abc web``: how sentences name it."""
        return f"{self.id} {self.name}".rstrip()

    def refresh(self) -> Instance:
        """Bring the snapshot up to date; an instance that is gone altogether is ``terminated``."""
        return self._ec2.refresh([self])[0]

    def start(self, wait: bool = True) -> Instance:
        """StartInstances; see ``Ec2.change``."""
        return self._ec2.change("start", [self], wait=wait)[0]

    def stop(self, wait: bool = True) -> Instance:
        """StopInstances; see ``Ec2.change``."""
        return self._ec2.change("stop", [self], wait=wait)[0]

    def reboot(self) -> Instance:
        """RebootInstances; see ``Ec2.change``."""
        return self._ec2.change("reboot", [self])[0]

    def terminate(self, wait: bool = True) -> Instance:
        """TerminateInstances; see ``Ec2.change``."""
        return self._ec2.change("terminate", [self], wait=wait)[0]

    def wait(self, state: str = "running", timeout: float = 120.0) -> Instance:
        """Wait for a state; see ``Ec2.wait``."""
        return self._ec2.wait([self], state, timeout=timeout)[0]

    def exec(
        self,
        command: str | Sequence[str],
        *,
        user: str | None = None,
        env: dict[str, str] | None = None,
        workdir: str | None = None,
        timeout: float | None = None,
        check: bool = False,
    ) -> ExecResult:
        """Run a script (str) or an argv (list) to its end; see ``Ec2.exec``.

        Raises
        ------
        OblakoError
            With ``check``, also where the exit code is not 0.
        """
        from .errors import OblakoError

        result = self._ec2.exec(self, command, user=user, env=env, workdir=workdir, timeout=timeout)
        if check and not result.ok:
            last = (result.stderr or result.stdout).strip().splitlines()[-1:]
            raise OblakoError(f"the command on {self.label} ended with exit code {result.exit_code}: {''.join(last)}")
        return result

    def publish(self, port: int, host_port: int | None = None) -> PortMapping:
        """Make a port reachable on this machine; see ``Ec2.publish``."""
        return self._ec2.publish(self, port, host_port)

    def unpublish(self, port: int) -> None:
        """Take it off again; see ``Ec2.unpublish``."""
        self._ec2.unpublish(self, port)

    def logs(self, tail: int | None = None) -> str:
        """What process 1 wrote, the last ``tail`` lines of it."""
        return self._ec2.logs(self, tail=tail)

    def console(self) -> str:
        """GetConsoleOutput."""
        return self._ec2.console(self)

    def __repr__(self) -> str:
        ports = " ".join(f"{p.host}:{p.host_port}->{p.container_port}" for p in self.ports)
        state = self.state if self.backed else f"{self.state} (simulated)"
        return "<Instance " + " ".join(filter(None, [self.id, self.name, state, ports])) + ">"


class InstanceList(list[Instance]):
    """Several instances, in the order that they were asked for."""

    @property
    def ids(self) -> list[str]:
        """Their ids."""
        return [instance.id for instance in self]

    @property
    def states(self) -> list[str]:
        """Their states, as last seen."""
        return [instance.state for instance in self]


def fill(instance: Instance, raw: dict[str, Any], extra: dict[str, Any] | None) -> None:
    """Bring a handle up to date from DescribeInstances and the control plane's own row.

    Parameters
    ----------
    instance : Instance
    raw : dict
        One ``Instances`` member.
    extra : dict or None
        The row of ``/instances``; None keeps what is there.
    """
    instance.state = raw["State"]["Name"]
    instance.tags = {tag["Key"]: tag["Value"] for tag in raw.get("Tags") or []}
    instance.name = instance.tags.get("Name", "")
    instance.type = raw.get("InstanceType", "")
    instance.image_id = raw.get("ImageId", "")
    instance.zone = (raw.get("Placement") or {}).get("AvailabilityZone", "")
    instance.private_ip = raw.get("PrivateIpAddress", "")
    instance.public_ip = raw.get("PublicIpAddress", "")
    instance.vpc_id, instance.subnet_id = raw.get("VpcId", ""), raw.get("SubnetId", "")
    instance.key_name = raw.get("KeyName", "")
    instance.profile = (raw.get("IamInstanceProfile") or {}).get("Arn", "").rpartition("/")[2]
    instance.security_groups = [f"{g.get('GroupName', '')} ({g['GroupId']})" for g in raw.get("SecurityGroups") or []]
    instance.launch_time = raw.get("LaunchTime")
    reason = raw.get("StateReason") or {}
    instance.reason, instance.reason_code = reason.get("Message", ""), reason.get("Code", "")
    instance.volumes = [
        {
            "device": mapping["DeviceName"],
            "volume_id": mapping["Ebs"]["VolumeId"],
            "delete_on_termination": mapping["Ebs"].get("DeleteOnTermination", False),
        }
        for mapping in raw.get("BlockDeviceMappings") or []
        if "Ebs" in mapping
    ]
    if extra is not None:
        fill_extra(instance, extra)


def fill_extra(instance: Instance, row: dict[str, Any]) -> None:
    """The part of a handle that the control plane's own row has."""
    instance.state = row["state"]
    instance.account, instance.region = row["account"], row["region"]
    instance.backed, instance.image = row["backed"], row["image"]
    instance.container, instance.container_id = row["container"], row["container_id"]
    instance.impaired, instance.impairment = bool(row["impaired"]), row["impaired"]
    instance.note, instance.progress, instance.user_data = row["note"], row["progress"], row["user_data"]
    instance.ports = [
        PortMapping(p["container_port"], p["host_port"], p["host"], p.get("live", False)) for p in row["ports"]
    ]
    instance.reason, instance.reason_code = row["reason"], row["reason_code"]
