"""A control plane with an environment of its own, and short words for what tests do with it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from oblako_magic.controlplane import process
from oblako_magic.engine import Engine, build
from oblako_magic.settings import Settings
from tests.support.plane import ControlPlane, eventually, running
from tests.support.sweep import PLANE, RUN

AMI = "ami-12c6146b"
"""One of moto's own; the tests' image comes from OBLAKO_EC2_IMAGE."""


@dataclass
class Plane(ControlPlane):
    """A control plane that sees these environment variables, also when it is started again."""

    environ: Mapping[str, str] = field(default_factory=dict)

    def start(self) -> None:
        with mock.patch.dict(os.environ, self.environ):
            super().start()

    def restart(self) -> None:
        """``oblako down`` and ``oblako up``."""
        self.stop()
        self.start()

    def launch(self, count: int = 1, **kwargs: Any) -> list[str]:
        """RunInstances; the ids, at once."""
        answer = self.client().run_instances(
            ImageId=kwargs.pop("ImageId", AMI), MinCount=count, MaxCount=count, **kwargs
        )
        return [instance["InstanceId"] for instance in answer["Instances"]]

    def run(self, **kwargs: Any) -> str:
        """RunInstances, and wait until it runs; the id."""
        (instance_id,) = self.launch(**kwargs)
        self.until(instance_id, "running")
        return instance_id

    def describe(self, instance_id: str) -> dict[str, Any]:
        """The instance as DescribeInstances has it."""
        found = self.client().describe_instances(InstanceIds=[instance_id])
        return dict(found["Reservations"][0]["Instances"][0])

    def until(self, instance_id: str, state: str, timeout: float = 30) -> None:
        """Wait for a state."""
        eventually(lambda: self.state(instance_id) == state, timeout=timeout, what=f"{instance_id} is {state}")

    def reason(self, instance_id: str) -> str:
        """Its StateReason's message."""
        return str(self.describe(instance_id).get("StateReason", {}).get("Message", ""))

    def api(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call the control plane's own API."""
        runtime = process.read_runtime(self.settings)
        assert runtime is not None
        return process.call(runtime, method, path, body)

    def seen(self, instance_id: str) -> dict[str, Any]:
        """The instance as the control plane's own API has it."""
        rows = self.api("GET", "/instances")["instances"]
        return next(row for row in rows if row["id"] == instance_id)

    def read(self, instance_id: str, path: str) -> str:
        """A file of a running instance; empty where there is none."""
        code, text = self.execute(instance_id, "cat", path)
        return text if code == 0 else ""


def plane_environ(engine: Engine, state: Path, run: str, label: str, more: Mapping[str, str]) -> dict[str, str]:
    """What the process of a control plane gets to see."""
    return {
        "OBLAKO_STATE_DIR": str(state),
        "OBLAKO_CONTAINER_BACKEND": "podman" if engine.podman else "docker",
        "OBLAKO_EC2_IMAGE": build.TINY_IMAGE,
        "OBLAKO_LABELS": f"{RUN}={run},{label}",
        **more,
    }


@contextmanager
def running_plane(engine: Engine, state: Path, run: str, name: str, more: Mapping[str, str]) -> Iterator[Plane]:
    """Start a control plane; at the end stop it and remove what it made."""
    label = f"{PLANE}={name}"
    environ = plane_environ(engine, state, run, label, more)
    plane = Plane(Settings.from_env({**os.environ, **environ}), engine, label, environ=environ)
    with running(plane):
        yield plane
