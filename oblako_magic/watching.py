"""What a front end that stays open asks for again and again: the part of ``Ec2`` behind the panel.

Nothing here starts a control plane: a panel that was left open must not bring back what its user has stopped.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from .controlplane import process
from .errors import ControlPlaneError, ControlPlaneTimeout, OblakoError
from .handles import Instance, Stats
from .inside import Inside

COMMON_TYPES = (
    "t2.micro", "t2.small", "t3.nano", "t3.micro", "t3.small", "t3.medium", "t3.large", "t3.xlarge", "t4g.micro",
    "t4g.small", "m5.large", "m5.xlarge", "m6i.large", "m7g.large", "c5.large", "c5.xlarge", "c6i.large", "r5.large",
    "r6i.large", "g4dn.xlarge",
)  # fmt: skip
"""The instance types that a launch form offers; any other may be written by hand."""


@dataclass(frozen=True)
class HostUse:
    """What the machine that the instances share has and uses; memory in bytes.

    Parameters
    ----------
    cpus : float
    memory_total : int
    cpu_percent : float or None
        Of all CPUs together, 0 to 100, since the reading before; None where this system does not tell.
    memory_used : int or None
    """

    cpus: float
    memory_total: int
    cpu_percent: float | None = None
    memory_used: int | None = None


class Watching(Inside):
    """Changes, figures and choices, for front ends that stay open."""

    _cpu_seen: tuple[float, float] = (0.0, 0.0)

    def watch(
        self, path: str, query: Mapping[str, object] | None = None, *, on_open: Callable[[Any], None] | None = None
    ) -> dict[str, Any]:
        """Look at one of the control plane's lists, or wait for a change in it.

        Parameters
        ----------
        path : str
            ``/instances``, ``/notebooks`` or ``/events`` (ADR 0003).
        query : mapping, optional
            ``since``: the revision that is known; ``timeout``: the seconds after which it answers without a change.
        on_open : callable, optional
            Gets the socket; shutting it down ends the wait.

        Returns
        -------
        dict
            ``revision`` and the list.

        Raises
        ------
        ControlPlaneError
            Where none runs; it is not started.
        """
        runtime = self._runtime or process.find(self.settings)
        if runtime is None:
            raise ControlPlaneError("the control plane is not running; start it with: oblako up")
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        timeout = float(str(asked.get("timeout", 0))) + 30
        whole = f"{path}?{urlencode(asked)}" if asked else path
        try:
            answer = process.call(runtime, "GET", whole, timeout=timeout, on_open=on_open, agent=self.agent)
        except ControlPlaneTimeout:
            raise
        except ControlPlaneError:
            self._forget()  # it may be back on another port
            raise
        self._runtime = runtime
        return answer

    def figures(self, instances: Sequence[Instance], before: MutableMapping[str, dict[str, Any]]) -> list[Stats]:
        """CPU and memory of instances that run, since the last call with the same ``before``; takes milliseconds.

        Parameters
        ----------
        instances : sequence of Instance
        before : mutable mapping of str to dict
            The caller's memory of the readings: empty at first, and CPU use is 0 then.

        Returns
        -------
        list of Stats
            One that has just gone is left out.
        """
        from concurrent.futures import ThreadPoolExecutor

        from . import remote

        running = [instance for instance in instances if instance.backed and instance.state == "running"]
        for gone in set(before) - {instance.id for instance in running}:
            del before[gone]
        if not running:
            return []
        engine = self.engine()

        def one(instance: Instance) -> Stats | None:
            try:
                reading, stats = remote.sample(engine, instance, before.get(instance.id))
            except OblakoError:
                return None
            before[instance.id] = reading
            return stats

        with ThreadPoolExecutor(min(8, len(running))) as pool:
            return [stats for stats in pool.map(one, running) if stats is not None]

    def host_use(self) -> HostUse:
        """CPU and memory of the machine that the instances share.

        Raises
        ------
        EngineUnavailable
        """
        cpus, memory_mib = self.engine().host
        total = memory_mib << 20
        cpu = used = None
        try:
            # Where the engine runs in a VM, this system's figures are not those of the instances' host.
            with open("/proc/meminfo") as lines:
                facts = {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines}
            if abs(facts["MemTotal"] - total) < 64 << 20:
                used = facts["MemTotal"] - facts["MemAvailable"]
                with open("/proc/stat") as stat:
                    ticks = [float(word) for word in stat.readline().split()[1:9]]
                busy, all_ = sum(ticks) - ticks[3] - ticks[4], sum(ticks)
                last_busy, last_all = self._cpu_seen
                self._cpu_seen = busy, all_
                if last_all and all_ > last_all:
                    cpu = round(100 * (busy - last_busy) / (all_ - last_all), 1)
        except (OSError, KeyError, ValueError, IndexError):
            pass  # another system than Linux: the sizes alone
        return HostUse(cpus or float(os.cpu_count() or 1), total, cpu, used)

    def launch_choices(self) -> dict[str, Any]:
        """What a launch form offers.

        Returns
        -------
        dict
            ``images`` as :meth:`Ec2.images`; ``types``: ``name``, ``vcpus``, ``memory_mib``; ``keys`` and ``groups``:
            names.

        Raises
        ------
        AwsError
        """
        types: list[dict[str, Any]] = []
        answer = self._aws("describe_instance_types", InstanceTypes=list(COMMON_TYPES))
        for raw in answer["InstanceTypes"]:
            types.append(
                {
                    "name": raw["InstanceType"],
                    "vcpus": raw["VCpuInfo"]["DefaultVCpus"],
                    "memory_mib": raw["MemoryInfo"]["SizeInMiB"],
                }
            )
        types.sort(key=lambda kind: COMMON_TYPES.index(kind["name"]))
        return {
            "types": types,
            "keys": sorted(raw["KeyName"] for raw in self._aws("describe_key_pairs")["KeyPairs"]),
            "groups": sorted({raw["GroupName"] for raw in self._aws("describe_security_groups")["SecurityGroups"]}),
        }

    def user_data_of(self, instance: Instance) -> str:
        """The user data that an instance was launched with (DescribeInstanceAttribute); empty where it has none."""
        answer = self._aws("describe_instance_attribute", InstanceId=instance.id, Attribute="userData")
        value = (answer.get("UserData") or {}).get("Value") or ""
        try:
            return base64.b64decode(value).decode(errors="replace")
        except ValueError:
            return str(value)

    def rename(self, instance: Instance, name: str) -> None:
        """Set the Name tag (CreateTags); an empty name takes it away (DeleteTags).

        Raises
        ------
        AwsError
        """
        if name:
            self._aws("create_tags", Resources=[instance.id], Tags=[{"Key": "Name", "Value": name}])
        else:
            self._aws("delete_tags", Resources=[instance.id], Tags=[{"Key": "Name"}])
        instance.name = name

    def follow_console(
        self, instance: Instance, on_text: Callable[[str], None], stopped: Callable[[float], bool], period: float = 1.0
    ) -> None:
        """Give the console's text whenever it has changed, until told to stop.

        Parameters
        ----------
        instance : Instance
        on_text : callable
            Gets all of it.
        stopped : callable
            Waits the seconds that it is given and says whether to stop; such as ``threading.Event().wait``.
        period : float
            Seconds.
        """
        last: str | None = None
        while True:
            began = time.monotonic()
            text = self.console(instance)
            if text != last:
                on_text(text)
                last = text
            if stopped(max(0.1, period - (time.monotonic() - began))):
                return
