"""An ``Ec2`` in memory, for tests of the front ends: no control plane, no engine, no network."""

from __future__ import annotations

import dataclasses
import datetime
import fnmatch
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from oblako_magic.errors import OblakoError, TargetError
from oblako_magic.events import Event, EventList
from oblako_magic.frontends.topology import Machine, Topology
from oblako_magic.handles import Check, ExecResult, Instance, InstanceList, Orphan, Report, Stats, Status
from oblako_magic.model import PortMapping, parse_publish
from oblako_magic.notebooks import Notebooks
from tests.support.fake_sagemaker import FakeSageMaker

_EMPTY = {"str": "", "bool": False, "int": 0, "list": [], "dict": {}}
DONE = {"start": "running", "stop": "stopped", "reboot": "running", "terminate": "terminated"}


def make_instance(**values: Any) -> Instance:
    """An instance with these values and empty ones for the rest."""
    every = {
        "type": "t3.micro",
        "image_id": "ami-12345678",
        "image": "debian:12",
        "private_ip": "10.0.0.4",
        "backed": True,
    }
    filled: dict[str, Any] = {}
    for field in dataclasses.fields(Instance):
        if field.name in values or field.name in every:
            filled[field.name] = values.get(field.name, every.get(field.name))
        elif field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            empty = _EMPTY.get(str(field.type).partition("[")[0])
            filled[field.name] = type(empty)() if isinstance(empty, (list, dict)) else empty
    return Instance(**filled)


def event(number: int, **values: Any) -> Event:
    """An event of an instance called web."""
    given = {"kind": "instance", "id": "i-0abc", "name": "web", "what": "tag A=b", "who": "aws-cli", **values}
    when = datetime.datetime(2026, 1, 2, 3, 4, number, tzinfo=datetime.timezone.utc)
    return Event(number, when, "123456789012", "us-east-1", **given)


class FakeEc2:
    """As much of ``Ec2`` as the front ends call.

    ``calls`` notes what was asked; ``fail`` maps a method to the error that it shall raise; ``script`` is what
    ``exec`` does instead of running anything.
    """

    endpoint_url = "http://127.0.0.1:41234"
    region = "us-east-1"

    def __init__(self) -> None:
        self.machines: list[Instance] = []
        self.calls: list[tuple[str, Any]] = []
        self.fail: dict[str, BaseException] = {}
        self.orphans: list[Orphan] = []
        self.script: Callable[..., ExecResult] = lambda command, out, err, stop: (
            out("hello\n"),
            ExecResult(0, "hello\n", ""),
        )[1]
        self.happened: list[Event] = []
        self.engine = "Docker 20.10.24"
        self.sagemaker = FakeSageMaker()
        self.notebooks = Notebooks(cast(Any, self.sagemaker))

    def _called(self, name: str, details: Any = None) -> None:
        self.calls.append((name, details))
        if name in self.fail:
            raise self.fail[name]

    def add(self, name: str = "", state: str = "running", **values: Any) -> Instance:
        """Put an instance there."""
        number = len(self.machines)
        machine = make_instance(id=f"i-{number:x}abc{number:013x}", name=name, state=state, **values)
        self.machines.append(machine)
        return machine

    def start(self, wait: bool = True) -> None:
        self._called("start", wait)

    def stop(self) -> None:
        self._called("stop")

    def wait_ready(self, timeout: float = 30) -> None:
        self._called("wait_ready", timeout)

    def status(self) -> Status:
        self._called("status")
        counts: dict[str, int] = {}
        for machine in self.machines:
            counts[machine.state] = counts.get(machine.state, 0) + 1
        error = "" if self.engine else "No container engine answers."
        return Status(True, self.endpoint_url, 4711, "0.1.0", "/state", "/state/log", self.engine, error, counts, [])

    def get_client(self, service: str = "ec2", *, region: str | None = None) -> Any:
        self._called("get_client", (service, region))
        return f"client of {service}"

    def run(self, *, on_change: Any = None, **wanted: Any) -> InstanceList:
        self.calls.append(("run", wanted))
        made = InstanceList()
        for _ in range(wanted["count"]):
            ports = [
                PortMapping(port.container_port, port.host_port or 20000)
                for text in wanted["publish"]
                for port in parse_publish(text)
            ]
            made.append(
                self.add(
                    wanted["name"] or "",
                    "pending",
                    type=wanted["instance_type"],
                    image=wanted["image"] or "debian:12",
                    tags=dict(wanted["tags"] or {}),
                    ports=ports,
                    backed=wanted["backed"],
                )
            )
        if on_change is not None:
            on_change(made)
        if "run" in self.fail:
            for machine in made:
                machine.state = "terminated"
            raise self.fail["run"]
        if wanted["wait"]:
            for machine in made:
                machine.state = "running"
        return made

    def instances(self, *, all: bool = False, filters: Sequence[str] = ()) -> InstanceList:
        self._called("instances", (all, tuple(filters)))
        return InstanceList(machine for machine in self.machines if all or machine.state != "terminated")

    def find(self, targets: Sequence[str], *, filters: Sequence[str] = (), terminated: bool = False) -> InstanceList:
        self._called("find", (tuple(targets), tuple(filters)))
        found = InstanceList()
        pool = [machine for machine in self.machines if terminated or machine.state != "terminated"]
        for target in targets or ["*"]:
            here = [
                machine
                for machine in pool
                if machine.id.startswith(target) or machine.name == target or fnmatch.fnmatchcase(machine.name, target)
            ]
            if target == "@last":
                here = self.machines[-1:]
            if not here:
                known = ", ".join(InstanceList(self.machines).ids) or "none"
                raise TargetError(f"No instance answers to {target!r}; there are {known}.")
            found.extend(here)
        return found

    def find_one(self, target: str, *, terminated: bool = False) -> Instance:
        found = self.find([target])
        if len(found) > 1:
            raise TargetError(f"{target!r} is ambiguous: {', '.join(found.ids)}.")
        return found[0]

    def change(
        self,
        action: str,
        instances: Sequence[Instance],
        *,
        wait: bool = True,
        timeout: float | None = None,
        on_change: Any = None,
    ) -> InstanceList:
        self._called("change", (action, [machine.id for machine in instances], wait, timeout))
        for machine in instances:
            machine.state = DONE[action]
        return InstanceList(instances)

    def wait(
        self,
        instances: Sequence[Instance],
        state: str = "running",
        *,
        timeout: float | None = None,
        on_change: Any = None,
    ) -> InstanceList:
        self._called("wait", (state, timeout))
        return InstanceList(instances)

    def wait_user_data(self, instance: Instance, on_output: Any = None, timeout: float | None = None) -> Instance:
        self._called("wait_user_data", timeout)
        on_output("user data log\n")
        instance.user_data = "done"
        return instance

    def exec(
        self, instance: Instance, command: Any, *, on_stdout: Any = None, on_stderr: Any = None,
        interrupted: Any = None, **options: Any,
    ) -> ExecResult:  # fmt: skip
        self._called("exec", (instance.id, command, options))
        return self.script(command, on_stdout, on_stderr, interrupted or threading.Event().is_set)

    def logs(self, instance: Instance, *, follow: bool = False, tail: int | None = None, on_output: Any = None) -> str:
        self._called("logs", (follow, tail))
        if on_output is not None:
            on_output("log line\n")
        return "log line\n"

    def console(self, instance: Instance) -> str:
        self._called("console")
        return "console line\n"

    def stats(self, instances: Sequence[Instance]) -> list[Stats]:
        self._called("stats")
        return [Stats(machine.id, machine.name, 12.5, 3 * 2**20, 2**30, 4, 1000, 2000) for machine in instances]

    def publish(self, instance: Instance, port: int, host_port: int | None = None) -> PortMapping:
        self._called("publish", (instance.id, port, host_port))
        mapping = PortMapping(port, host_port or 20001, live=True)
        instance.ports.append(mapping)
        return mapping

    def unpublish(self, instance: Instance, port: int) -> None:
        self._called("unpublish", (instance.id, port))

    def copy(self, source: str, destination: str) -> int:
        self._called("copy", (source, destination))
        return 2048

    def events(self, *, since: int = 0, log: str = "", timeout: float = 0.0, follow: bool = False) -> Any:
        self._called("events", (since, log, follow))
        events = [event for event in self.happened if event.number > since]
        if not follow:
            return EventList(events, len(self.happened), "run")
        return self._follow(since)

    def _follow(self, since: int) -> Iterator[Event]:
        yield event(since + 1, what="running -> stopping")
        raise KeyboardInterrupt

    def map(self, instances: Sequence[Instance] | None = None) -> Topology:
        self._called("map", instances)
        machines = self.machines if instances is None else instances
        return Topology(self.region, machines=tuple(Machine(one.id, one.name, one.state) for one in machines))

    def images(self) -> list[dict[str, Any]]:
        self._called("images")
        return [
            {
                "image_id": "ami-1",
                "name": "al2023",
                "image": "amazonlinux:2023",
                "local": True,
                "description": "Amazon <Linux>",
            }
        ]

    def doctor(self) -> Report:
        self._called("doctor")
        checks = [Check("engine", bool(self.engine), self.engine or "none answers", "Start Docker.")]
        return Report(checks, self.orphans)

    def adopt(self, orphan: Orphan) -> None:
        self._called("adopt", orphan.name)

    def remove(self, orphan: Orphan) -> None:
        self._called("remove", orphan.name)

    def deploy(self, stack_name: str, template: str, *, parameters: Any = None, on_event: Any = None) -> dict[str, Any]:
        self._called("deploy", (stack_name, template, parameters))
        if "nonsense" in template:
            raise OblakoError("ValidationError: the template is no YAML (CreateStack)")
        return {
            "StackId": "arn:stack",
            "StackStatus": "CREATE_COMPLETE",
            "Outputs": {"Url": "http://x"},
            "Resources": [],
        }

    def environment(self) -> dict[str, str]:
        self._called("environment")
        return {
            "AWS_ENDPOINT_URL_EC2": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": "te st",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def cached(self) -> list[tuple[str, str]]:
        return [(machine.id, machine.name) for machine in self.machines]
