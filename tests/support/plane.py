"""A control plane of the tests' own, and a look at the engine behind it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import docker.errors

from oblako_magic import names
from oblako_magic.controlplane import process
from oblako_magic.engine import Engine
from oblako_magic.errors import OblakoError
from oblako_magic.settings import Settings
from tests.support.sweep import sweep

REGION = "us-east-1"
T = TypeVar("T")


def eventually(probe: Callable[[], T], *, timeout: float = 20.0, what: str = "") -> T:
    """Ask again until the answer is true; the last answer is in the failure's message."""
    end = time.monotonic() + timeout
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(
                f"not within {timeout:g} s: {what or getattr(probe, '__name__', probe)} (last: {answer!r})"
            )
        time.sleep(0.05)


@dataclass
class ControlPlane:
    """One control plane with a state directory of its own.

    Parameters
    ----------
    settings : Settings
    engine : Engine
        The tests' own connection, to look at the world.
    label : str
        ``key=value``: on everything that this control plane makes.
    """

    settings: Settings
    engine: Engine
    label: str
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """The address of the AWS API."""
        runtime = process.find(self.settings)
        assert runtime is not None, f"the control plane does not run; its log ends:\n{self.log()}"
        return runtime.url

    def start(self) -> None:
        """Start it and wait until it answers."""
        process.ensure(self.settings, 30)

    def stop(self) -> None:
        """Stop it as ``oblako down`` does."""
        process.stop(self.settings)

    def kill(self) -> None:
        """Kill it as a power cut would: nothing is saved, nobody says goodbye."""
        runtime = process.find(self.settings)
        assert runtime is not None
        os.kill(runtime.pid, signal.SIGKILL)
        eventually(lambda: not process.locked(self.settings), what="the killed control plane is gone")

    def client(self, service: str = "ec2", region: str = REGION) -> Any:
        """A boto3 client of this endpoint, with test keys and no retries that hide an error."""
        import boto3
        from botocore.config import Config

        key = (service, region)
        if key not in self._clients:
            self._clients[key] = boto3.client(
                service,
                region_name=region,
                endpoint_url=self.endpoint,
                aws_access_key_id="test",
                aws_secret_access_key="test",
                config=Config(retries={"max_attempts": 1}, read_timeout=120),
            )
        return self._clients[key]

    def containers(self) -> list[dict[str, Any]]:
        """The containers that this control plane made, as the engine lists them."""
        return list(self.engine.api.containers(all=True, filters={"label": [self.label]}))

    def container(self, instance_id: str) -> dict[str, Any] | None:
        """What the engine says of an instance's container; None where it has none."""
        try:
            return dict(self.engine.api.inspect_container(names.container_name(instance_id)))
        except docker.errors.NotFound:
            return None

    def volumes(self) -> list[str]:
        """The names of the volumes that this control plane made."""
        return [raw["Name"] for raw in self.engine.api.volumes(filters={"label": [self.label]})["Volumes"] or []]

    def execute(self, instance_id: str, *argv: str, user: str = "root") -> tuple[int, str]:
        """Run a command in an instance; its exit code and both of its streams."""
        api = self.engine.api
        made = api.exec_create(names.container_name(instance_id), list(argv), user=user)
        output = api.exec_start(made["Id"])
        return int(api.exec_inspect(made["Id"])["ExitCode"] or 0), output.decode(errors="replace")

    def state(self, instance_id: str) -> str:
        """The instance's state as EC2 tells it."""
        found = self.client().describe_instances(InstanceIds=[instance_id])
        return str(found["Reservations"][0]["Instances"][0]["State"]["Name"])

    def log(self, lines: int = 60) -> str:
        """The end of its log and of what it printed."""
        parts: list[str] = []
        for path in (self.settings.log_file, self.settings.state_dir / "control-plane.out"):
            with suppress(OSError):
                parts += path.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(parts)

    def container_logs(self, lines: int = 20) -> dict[str, str]:
        """The end of what each of its containers printed, by name."""
        logs: dict[str, str] = {}
        for raw in self.containers():
            with suppress(docker.errors.APIError):
                text = self.engine.api.logs(raw["Id"], tail=lines).decode(errors="replace")
                logs[f"{raw['Names'][0].lstrip('/')} ({raw['Status']})"] = text
        return logs


P = TypeVar("P", bound=ControlPlane)


@contextmanager
def running(plane: P) -> Iterator[P]:
    """Start a control plane; at the end stop it and remove what it made."""
    try:
        plane.start()
        yield plane
    finally:
        try:
            plane.stop()
        except OblakoError:
            # One that does not end would hold its port and its log until somebody looks.
            with suppress(AssertionError, OSError):
                plane.kill()
            raise
        finally:
            sweep(plane.engine.api, plane.label)
