"""A notebook instance until it is in service, against the same image started by hand and asked by the same path."""

from __future__ import annotations

import http.client
import itertools
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from docker.types import Mount

from oblako_magic import names
from oblako_magic.cloud import Ec2
from oblako_magic.controlplane import process
from oblako_magic.engine import Engine, build

from .harness import Row, interleave, paired
from .world import World

GROUP = "Notebook instance until its server answers"
TYPE = "ml.t3.medium"
PATH = "/api"
"""What the control plane asks for, too."""
PAUSE = 0.02
LIMIT = 180.0
_numbers = itertools.count(1)


class Ours:
    """A notebook instance as ``%ec2 notebook run``, ``stop``, ``start`` and ``terminate`` have it."""

    def __init__(self, ec2: Ec2) -> None:
        self.notebooks = ec2.notebooks

    def measure(self) -> tuple[float, float]:
        """Seconds until it is in service, made anew and started after a stop."""
        begun = time.perf_counter()
        made = self.notebooks.run(f"bench-{next(_numbers)}", instance_type=TYPE)
        created = time.perf_counter() - begun
        self.notebooks.change("stop", made)
        begun = time.perf_counter()
        self.notebooks.change("start", made)
        started = time.perf_counter() - begun
        self.notebooks.change("stop", made)
        self.notebooks.change("terminate", made)
        return created, started


class Polled:
    """The same by SageMaker's API, as a client sees it that asks again and again."""

    def __init__(self, ec2: Ec2) -> None:
        self.client = ec2.get_client("sagemaker")

    def until(self, name: str, status: str) -> None:
        """Wait; asked as often as the server by hand is."""
        end = time.monotonic() + LIMIT
        while True:
            found = self.client.describe_notebook_instance(NotebookInstanceName=name)
            if found["NotebookInstanceStatus"] == status:
                return
            if found["NotebookInstanceStatus"] == "Failed" or time.monotonic() > end:
                raise RuntimeError(f"{name} is {found['NotebookInstanceStatus']}: {found.get('FailureReason')}")
            time.sleep(PAUSE)

    def measure(self) -> tuple[float, float]:
        """Seconds of CreateNotebookInstance, and of StartNotebookInstance after a stop, until InService."""
        name = f"bench-{next(_numbers)}"
        begun = time.perf_counter()
        role = "arn:aws:iam::123456789012:role/bench"
        self.client.create_notebook_instance(NotebookInstanceName=name, InstanceType=TYPE, RoleArn=role)
        self.until(name, "InService")
        made = time.perf_counter() - begun
        self.client.stop_notebook_instance(NotebookInstanceName=name)
        self.until(name, "Stopped")
        begun = time.perf_counter()
        self.client.start_notebook_instance(NotebookInstanceName=name)
        self.until(name, "InService")
        started = time.perf_counter() - begun
        self.client.stop_notebook_instance(NotebookInstanceName=name)
        self.until(name, "Stopped")
        self.client.delete_notebook_instance(NotebookInstanceName=name)
        return made, started


class ByHand:
    """The image as it runs by itself, with a port, a volume and the limits that the instance type has."""

    def __init__(self, engine: Engine) -> None:
        self.api = engine.api
        self.cpus, self.memory = engine.host
        self.labels = dict(engine.labels)

    def until(self, port: int) -> None:
        """Wait for an answer."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            with suppress(OSError, http.client.HTTPException):
                connection.request("GET", PATH)
                if connection.getresponse().status < 400:
                    return
            connection.close()
            time.sleep(PAUSE)
        raise RuntimeError(f"nothing answers on port {port}")

    def measure(self) -> tuple[float, float]:
        """Seconds of a container's creation, and of its start after a stop, until the server answers."""
        name, port = f"oblako-bench-notebook-{next(_numbers)}", process.free_port()
        begun = time.perf_counter()
        made: dict[str, Any] = self.api.create_container(
            names.NOTEBOOK_IMAGE,
            name=name,
            labels=self.labels,
            ports=[8888],
            host_config=self.api.create_host_config(
                init=True,
                mounts=[Mount("/home/ec2-user/SageMaker", name, type="volume", labels=self.labels)],
                port_bindings={8888: ("127.0.0.1", port)},
                nano_cpus=int(min(2, self.cpus) * 1e9),
                mem_limit=min(4096, self.memory) << 20,
            ),
        )
        try:
            self.api.start(made["Id"])
            self.until(port)
            created = time.perf_counter() - begun
            self.api.stop(made["Id"], timeout=3)
            begun = time.perf_counter()
            self.api.start(made["Id"])
            self.until(port)
            return created, time.perf_counter() - begun
        finally:
            self.api.remove_container(made["Id"], force=True, v=True)
            self.api.remove_volume(name)


def benchmarks(world: World) -> Iterator[Row]:
    """From nothing, and after a stop."""
    if world.engine is None:
        return
    build.build_notebook(world.engine.api, print)
    with world.control_plane("notebooks") as ec2:
        sides: list[Ours | Polled | ByHand] = [Ours(ec2), Polled(ec2), ByHand(world.engine)]
        pairs: list[list[tuple[float, float]]] = [[] for _ in sides]

        def measure(at: int) -> float:
            pairs[at].append(sides[at].measure())
            return pairs[at][-1][0]

        rounds = world.rounds(10, 2)
        interleave([partial(measure, at) for at in range(len(sides))], rounds)
    ours, polled, by_hand = (side[-rounds:] for side in pairs)
    for index, (ways, against) in enumerate(
        (
            (("notebooks.run", "CreateNotebookInstance, boto3 polling every 20 ms"), "create, start, ask"),
            (('notebooks.change("start")', "StartNotebookInstance, boto3 polling every 20 ms"), "start, ask"),
        )
    ):
        for way, side, target in zip(ways, (ours, polled), (1.2, None), strict=True):
            figures = [[pair[index] for pair in one] for one in (side, by_hand)]
            yield paired(GROUP, way, figures[0], f"the same image by hand: {against}", figures[1], target=target)
