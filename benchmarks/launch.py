"""Launches until the containers run, against the best loop over docker-py that makes the same containers."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from docker.types import Mount

from oblako_magic import names
from oblako_magic.cloud import Ec2
from oblako_magic.engine import Engine, build

from .harness import Row, alone, interleave, paired, timed
from .world import TYPE, World, client

GROUP = "Launch until the container runs"
MANY = 32
THREADS = (1, 4, 8, 16)
_numbers = itertools.count(1)


class Docker:
    """Makes with docker-py's low-level client what an instance has: image, volume, limits, labels, init, host name."""

    def __init__(self, engine: Engine) -> None:
        self.api = engine.api
        self.cpus, memory = engine.host
        self.memory = min(1024, memory) << 20
        self.labels = dict(engine.labels)
        # As many bytes of labels as an instance has.
        self.labels.update({"bench.record": "x" * 400, **{f"bench.label-{n}": "x" * 20 for n in range(6)}})

    def launch(self, number: int) -> str:
        """Create and start one container; its name."""
        name = f"oblako-bench-{number}-{self.labels['oblako.test-run']}"
        mount = Mount(names.ROOT_MOUNT, name, type="volume", labels=self.labels)
        made = self.api.create_container(
            build.TINY_IMAGE,
            command=["sleep", "infinity"],
            name=name,
            hostname="ip-10-0-0-4",
            labels=self.labels,
            stdin_open=True,
            host_config=self.api.create_host_config(
                init=True,
                mounts=[mount],
                extra_hosts={names.HOST_ALIAS: "host-gateway"},
                nano_cpus=int(min(2, self.cpus) * 1e9),
                mem_limit=self.memory,
            ),
        )
        self.api.start(made["Id"])
        return name

    def launch_many(self, pool: ThreadPoolExecutor | None, count: int) -> list[str]:
        """The same for several, in turn or by a pool of threads."""
        numbers = [next(_numbers) for _ in range(count)]
        return list(map(self.launch, numbers) if pool is None else pool.map(self.launch, numbers))

    def remove(self, containers: list[str]) -> None:
        """Remove containers and their volumes."""

        def one(name: str) -> None:
            self.api.remove_container(name, force=True, v=True)
            self.api.remove_volume(name)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, containers))

    def measure(self, count: int, threads: int = 1) -> Callable[[], float]:
        """Measures the launch of some; they are removed after it."""

        def measure() -> float:
            pool = ThreadPoolExecutor(threads) if threads > 1 else None
            made: list[str] = []
            seconds = timed(lambda: made.extend(self.launch_many(pool, count)))
            if pool is not None:
                pool.shutdown()
            self.remove(made)
            return seconds

        return measure


def ours(ec2: Ec2, count: int) -> Callable[[], float]:
    """Measures ``Ec2.run``: RunInstances, then until all are running."""

    def measure() -> float:
        made: list[Any] = []
        seconds = timed(lambda: made.extend(ec2.run(image=build.TINY_IMAGE, instance_type=TYPE, count=count)))
        ec2.change("terminate", made)
        return seconds

    return measure


def polled(url: str, count: int) -> Callable[[], float]:
    """Measures plain boto3: RunInstances, then DescribeInstances over and over."""
    ec2 = client(url)

    def measure() -> float:
        begun = time.perf_counter()
        answer = ec2.run_instances(ImageId=build.TINY_IMAGE, InstanceType=TYPE, MinCount=count, MaxCount=count)
        ids = [raw["InstanceId"] for raw in answer["Instances"]]

        def states() -> set[str]:
            pages = ec2.describe_instances(InstanceIds=ids)["Reservations"]
            return {raw["State"]["Name"] for page in pages for raw in page["Instances"]}

        while states() != {"running"}:
            time.sleep(0.02)
        seconds = time.perf_counter() - begun
        ec2.terminate_instances(InstanceIds=ids)
        while states() != {"terminated"}:
            time.sleep(0.05)
        return seconds

    return measure


def benchmarks(world: World) -> Iterator[Row]:
    """One launch, and 32 in one call."""
    if world.engine is None:
        return
    docker = Docker(world.engine)
    with world.control_plane("launch") as ec2:
        rounds = world.rounds(25, 5)
        mine, theirs, boto = interleave([ours(ec2, 1), docker.measure(1), polled(ec2.endpoint_url, 1)], rounds)
        yield paired(GROUP, "1, Ec2.run", mine, "docker-py: create, start", theirs, target=1.10)
        yield paired(GROUP, "1, boto3 polling every 20 ms", boto, "docker-py: create, start", theirs)
        tried = interleave([docker.measure(MANY, threads) for threads in THREADS], world.rounds(2, 1), warm_up=0)
        best = min(THREADS, key=lambda threads: min(tried[THREADS.index(threads)]))
        for threads, figures in zip(THREADS, tried, strict=True):
            print(f"docker-py, {MANY} launches, {threads} threads: {min(figures):.2f} s")
        mine, theirs = interleave([ours(ec2, MANY), docker.measure(MANY, best)], world.rounds(7, 2))
        against = f"docker-py, {best} thread{'s' if best > 1 else ''} (the best of {', '.join(map(str, THREADS))})"
        yield paired(GROUP, f"{MANY} in one RunInstances call, Ec2.run", mine, against, theirs, target=1.10)


def events(world: World) -> Iterator[Row]:
    """A container that is killed, until DescribeInstances shows it stopped."""
    if world.engine is None:
        return
    with world.control_plane("events") as ec2:
        aws = client(ec2.endpoint_url)
        (instance,) = ec2.run(image=build.TINY_IMAGE, instance_type=TYPE)
        api = world.engine.api

        def measure() -> float:
            begun = time.perf_counter()
            api.kill(names.container_name(instance.id))
            while True:
                answer = aws.describe_instances(InstanceIds=[instance.id])
                if answer["Reservations"][0]["Instances"][0]["State"]["Name"] == "stopped":
                    break
                time.sleep(0.005)
            seconds = time.perf_counter() - begun
            ec2.change("start", [instance])
            return seconds

        yield alone(
            "Events",
            "docker kill, until DescribeInstances says stopped",
            measure,
            world.rounds(20, 4),
            target=1.0,
            absolute=True,
            note="of it 0.15 s is the second look, by which a `docker rm -f` is told from a crash",
        )
        ec2.change("terminate", [instance])
