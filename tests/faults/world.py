"""A control plane whose disk, engine and process can fail, and what must hold after they did."""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker.errors

from oblako_magic import names
from oblako_magic.engine import Engine, publish
from tests.controlplane.planes import Plane, running_plane
from tests.controlplane.proxy import Proxy, proxy
from tests.faults.clients import Client, Mine
from tests.support.dockerd import Daemon

CONVERGE = 10.0
"""Seconds within which the loop must have followed once the last fault is over (issue 3)."""
TOLD = 5.0
"""A round that takes longer to converge is told, with what it waited for last."""
CLIENTS = 4
DISK = 32 << 20
"""Bytes of the state directory's disk: log files and the state find room."""


_ALLOCATED = re.compile(r"Bind for ([\d.]+):(\d+) failed: port is already allocated")
"""Docker's own book says so; a port that a program listens on is told in other words."""
_HALF_MADE = "the engine was ended amid an earlier start"


class Broken(AssertionError):
    """What was promised does not hold."""


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """A file system of its own that can be filled; needs root."""
    path.mkdir(parents=True)
    options = f"size={DISK},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True, capture_output=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True, capture_output=True)


def fill(folder: Path) -> Path:
    """Leave not a byte on the disk; removing the file ends it."""
    path = folder / "filler"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    os.write(descriptor, b"x" * size)
    finally:
        os.close(descriptor)
    return path


@dataclass
class World:
    """One control plane under load.

    Parameters
    ----------
    plane : Plane
    cut : Proxy
        Between it and its engine.
    seed : str
    limit : float
        Seconds after which a round that has not converged never will.
    daemon : Daemon, optional
        The engine itself, where it may be ended, too.
    """

    plane: Plane
    cut: Proxy
    seed: str
    limit: float = 60.0
    daemon: Daemon | None = None
    counts: Counter[str] = field(default_factory=Counter)
    clients: list[Client] = field(default_factory=list)
    engine_ended: bool = False
    """Whether the engine was ended in this round."""
    rounds: int = 0
    took: list[float] = field(default_factory=list)
    """Seconds that each round took to converge."""

    def __post_init__(self) -> None:
        self.clients = [Client(self.plane.endpoint, f"{self.seed}/{number}", self.counts) for number in range(CLIENTS)]

    @property
    def mine(self) -> dict[str, Mine]:
        """All that was ever acknowledged."""
        return {key: one for client in self.clients for key, one in client.mine.items()}

    # -- one round --------------------------------------------------------------------------------------

    def round(self, *faults: str) -> None:
        """Let the clients work, let the faults happen amid it, mend, and look whether all that was promised holds."""
        self.rounds += 1
        chance = random.Random(f"{self.seed}/round {self.rounds}")
        possible = sorted(set(FAULTS) - (set() if self.daemon else ENGINE_FAULTS))
        names_of = faults or tuple(chance.sample(possible, chance.choice((1, 1, 2))))
        self.engine_ended = False
        end = threading.Event()
        threads = [threading.Thread(target=client.work, args=(end,), daemon=True) for client in self.clients]
        for thread in threads:
            thread.start()
        try:
            for name in names_of:
                time.sleep(chance.uniform(0.1, 0.9))
                self.counts[f"fault: {name}"] += 1
                FAULTS[name](self, chance)
            time.sleep(chance.uniform(0, 0.4))
        finally:
            end.set()
            for thread in threads:
                thread.join(60)
        self.plane.start()  # finds the one that runs
        self.check(" and ".join(names_of))
        self._mark(chance)

    # -- what must hold ---------------------------------------------------------------------------------

    def check(self, after: str) -> None:
        """Wait until all invariants hold; where they do not within the promised time, say which."""
        begun = time.monotonic()
        last: list[str] = []
        while True:
            problems = self.problems()
            took = time.monotonic() - begun
            if not problems:
                break
            last = problems
            if took > self.limit:
                raise Broken(f"round {self.rounds} (seed {self.seed}), after {after}: " + "; ".join(problems))
            time.sleep(0.1)
        self.took.append(took)
        if took > TOLD:
            print(f"round {self.rounds}, after {after}: {took:.1f} s, last waited for: {'; '.join(last)}", flush=True)
        self.counts["rounds that took more than 10 s to converge"] += took > CONVERGE
        unexpected = [text for client in self.clients for text in client.unexpected]
        if unexpected:
            raise Broken(f"round {self.rounds} (seed {self.seed}), after {after}: " + "; ".join(unexpected))
        self.counts["instances looked at"] += len(self.mine)

    def problems(self) -> list[str]:
        """Every difference between what was acknowledged, what is told and what is."""
        told = self._told()
        seen = {row["id"]: row for row in self.plane.api("GET", "/instances")["instances"]}
        real: dict[str, list[str]] = {}
        for raw in self.plane.containers():
            real.setdefault(raw["Labels"][names.LABEL_INSTANCE], []).append(raw["State"])
        volumes = set(self.plane.volumes())
        attached = {
            (attachment["VolumeId"], attachment["InstanceId"])
            for volume in self.plane.client().describe_volumes()["Volumes"]
            for attachment in volume["Attachments"]
        }
        found = [f"{key} has {len(states)} containers" for key, states in real.items() if len(states) > 1]
        for key in set(real) - {key for key, one in told.items() if one["State"]["Name"] != "terminated"}:
            found.append(f"container of {key} without a record")
        for name in volumes:
            owner = names.instance_id_of(name) or ""
            if owner not in told or told[owner]["State"]["Name"] == "terminated":
                found.append(f"volume {name} without a record")
        for key, one in self.mine.items():
            if key not in told:
                if not one.gone:
                    found.append(f"{key} was acknowledged and is lost")
                continue
            found += self._differences(key, one, told[key], seen.get(key, {}), real.get(key, []), volumes)
            if told[key]["State"]["Name"] in ("running", "stopped"):
                found += [f"{v} is not attached to {key}" for v in one.volumes if (v, key) not in attached]
        for key, row in told.items():
            if key not in self.mine and row["State"]["Name"] not in ("running", "stopped", "terminated"):
                found.append(f"{key} (never acknowledged) is still {row['State']['Name']}")
        return found

    def _told(self) -> dict[str, dict[str, Any]]:
        pages = self.plane.client().get_paginator("describe_instances").paginate()
        return {i["InstanceId"]: i for page in pages for r in page["Reservations"] for i in r["Instances"]}

    def _differences(
        self, key: str, one: Mine, told: dict[str, Any], seen: dict[str, Any], real: list[str], volumes: set[str]
    ) -> list[str]:
        state = told["State"]["Name"]
        reason = told.get("StateReason", {}).get("Message", "")
        if (
            state == "stopped"
            and "can't start" in reason
            and one.started
            and self.engine_ended
            and not one.half_started
        ):
            # Docker can't take up a start amid which it was killed. That was said, and nothing is lost by it.
            one.half_started = True
            self.counts["instances that Docker could not start any more"] += 1
        refused = one.started and (one.half_started or self._leaked(reason)) and "can't start" in reason
        if state not in one.allowed | ({"stopped"} if refused else set()):
            return [f"{key} is {state} and not {' or '.join(sorted(one.allowed))} {reason}"]
        found = []
        tags = {tag["Key"]: tag["Value"] for tag in told.get("Tags") or []}
        found += [f"{key} has lost the tag {k}={v}" for k, v in one.tags.items() if tags.get(k) != v]
        if state == "terminated":
            return found
        if names.root_volume_name(key) not in volumes and not (state == "stopped" and not real):
            found.append(f"the root volume of {key} is gone")
        elif one.marked and names.root_volume_name(key) not in volumes:
            found.append(f"the root volume of {key}, with data in it, is gone")
        if state == "running" and real != ["running"] and not (one.removed and not real and seen.get("impaired")):
            found.append(f"{key} is told to run and its containers are {real}")
        if state == "running" and real == ["running"] and seen.get("impaired"):
            found.append(f"{key} runs and is impaired: {seen['impaired']}")
        if state == "stopped" and "running" in real:
            found.append(f"{key} is told to be stopped and its container runs")
        return found

    def _leaked(self, reason: str) -> bool:
        """Whether Docker refuses a start for what it kept when it was ended amid another: a free port, a task.

        That lasts until it is started again. The instance and its data are there, and its reason says why.
        """
        if not self.counts["fault: engine ended"]:
            return False
        held = _ALLOCATED.search(reason)
        return _HALF_MADE in reason or bool(held and publish.free(held[1], int(held[2])))

    def _mark(self, chance: random.Random) -> None:
        """Take what is as the truth from here on; look for the data of instances, and leave some on others."""
        told = self._told()
        for key, one in self.mine.items():
            if key not in told:
                continue
            one.gone = told[key]["State"]["Name"] == "terminated"
            one.wish, one.maybe, one.fault, one.started = told[key]["State"]["Name"], set(), set(), False
        running = sorted(k for k, one in self.mine.items() if one.wish == "running" and self._runs(k))
        for key in chance.sample(running, min(3, len(running))):
            one = self.mine[key]
            one.removed = False
            if one.marked:
                code, text = self.plane.execute(key, "cat", f"{names.ROOT_MOUNT}/mark")
                if (code, text.strip()) != (0, key):
                    raise Broken(f"round {self.rounds}: the data of {key} is gone ({text.strip()})")
                self.counts["data looked at"] += 1
            else:
                self.plane.execute(key, "sh", "-c", f"echo {key} > {names.ROOT_MOUNT}/mark")
                one.marked = True

    def _runs(self, instance_id: str) -> bool:
        container = self.plane.container(instance_id)
        return container is not None and bool(container["State"]["Running"])

    def report(self) -> str:
        """The counts, one a line."""
        lines = [f"{count:8} {what}" for what, count in sorted(self.counts.items())]
        slow = (
            f"half within {statistics.median(self.took):.1f} s, all within {max(self.took):.1f} s" if self.took else ""
        )
        return "\n".join([*lines, f"{self.rounds:8} rounds, seed {self.seed}, to converge: {slow}"])


# -- faults -------------------------------------------------------------------------------------------------


def _kill(world: World, chance: random.Random) -> None:
    with contextlib.suppress(ProcessLookupError):
        world.plane.kill()
    time.sleep(chance.uniform(0, 0.3))
    world.plane.start()


def _cut_save(world: World, chance: random.Random) -> None:
    """Kill it while it writes; what the writing left behind, or a torn piece in its place, must not be believed."""
    new = world.plane.settings.state_file.with_suffix(".new")
    end = time.monotonic() + 2
    while not new.exists() and time.monotonic() < end:
        pass
    world.plane.kill()
    if new.exists():
        world.counts["saves cut while they were written"] += 1
    else:
        whole = world.plane.settings.state_file.read_bytes()
        new.write_bytes(whole[: chance.randrange(len(whole))])
    world.plane.start()


def _engine_away(world: World, chance: random.Random) -> None:
    world.cut.down()
    try:
        time.sleep(chance.uniform(0.2, 2))
    finally:
        world.cut.up()


def _engine_ended(world: World, chance: random.Random) -> None:
    """End the engine itself and start it again: some of its containers die, or all, or it finds them alive."""
    assert world.daemon is not None
    how = chance.choice(("kill", "kill", "kill", "stop", "stop", "crash", "crash", "kill_containerd"))
    options = ["--live-restore"] if chance.random() < 0.3 else []
    world.counts[f"engine: {how.replace('_', ' ')}"] += 1
    world.engine_ended = True
    getattr(world.daemon, how)()
    if how == "kill_containerd":
        return
    time.sleep(chance.uniform(0, 1))
    world.daemon.up(*options)


def _disk_full(world: World, chance: random.Random) -> None:
    filler = fill(world.plane.settings.state_dir)
    try:
        time.sleep(chance.uniform(0.3, 1))
    finally:
        filler.unlink()


def _pick(world: World, chance: random.Random) -> str | None:
    """An instance whose container runs now."""
    running = [r["Labels"][names.LABEL_INSTANCE] for r in world.plane.containers() if r["State"] == "running"]
    known = sorted(set(running) & set(world.mine))
    return chance.choice(known) if known else None


def _remove_container(world: World, chance: random.Random) -> None:
    key = _pick(world, chance)
    if key is None:
        return
    # The control plane may see the end before the removal, or a stop that comes at the same time.
    world.mine[key].fault |= {"running", "stopped"}
    world.mine[key].removed = True
    with contextlib.suppress(docker.errors.APIError):
        world.plane.engine.api.remove_container(names.container_name(key), force=True)


def _kill_container(world: World, chance: random.Random) -> None:
    key = _pick(world, chance)
    if key is None:
        return
    world.mine[key].fault |= {"running", "stopped"}
    with contextlib.suppress(docker.errors.APIError):
        world.plane.engine.api.kill(names.container_name(key))


def _take_ports(world: World, chance: random.Random) -> None:
    """Sit on the ports of an instance while it is stopped: its start fails with a reason, or finds them free again."""
    rows = world.plane.api("GET", "/instances")["instances"] if _answers(world) else []
    ports = [(row["id"], p["host_port"]) for row in rows for p in row["ports"] if row["state"] == "stopped"]
    taken = []
    for key, port in ports:
        if key not in world.mine:
            continue
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            listener.listen()
            world.counts["ports taken"] += 1
        # A start that is acknowledged meanwhile may fail.
        world.mine[key].fault |= {"stopped", "running"}
        taken.append(listener)
    try:
        time.sleep(chance.uniform(0.3, 1.2))
    finally:
        for listener in taken:
            listener.close()


def _answers(world: World) -> bool:
    with contextlib.suppress(Exception):
        world.plane.api("GET", "/hello")
        return True
    return False


FAULTS: dict[str, Callable[[World, random.Random], None]] = {
    "container killed": _kill_container,
    "container removed": _remove_container,
    "disk full": _disk_full,
    "engine away": _engine_away,
    "engine ended": _engine_ended,
    "kill -9": _kill,
    "ports taken": _take_ports,
    "save cut": _cut_save,
}
ENGINE_FAULTS = {"engine ended"}
"""Those that need an engine of the harness's own."""


@contextmanager
def world(engine: Engine, folder: Path, run: str, seed: str, daemon: Daemon | None = None) -> Iterator[World]:
    """A control plane on a small disk and behind a socket that can be cut; all that it made is removed at the end."""
    variable = "CONTAINER_HOST" if engine.podman else "DOCKER_HOST"
    # Away from the ports of others on this machine, so that the only ones taken are those that we take.
    first = 21000 + os.getpid() % 80 * 100
    environ = {"OBLAKO_RESYNC": "5", "OBLAKO_PUBLISH_PORTS": f"{first}-{first + 99}"}
    # Of hundreds of rounds each would have more records to read and to save than the one before.
    environ["OBLAKO_TERMINATED_VISIBLE"] = "90"
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(folder / "disk"))
        cut = stack.enter_context(proxy(engine.url))
        plane = stack.enter_context(
            running_plane(engine, disk / "state", run, f"{run}-faults", {variable: cut.url, **environ})
        )
        if daemon is not None:
            stack.callback(daemon.ensure)  # what is interrupted while it is down is taken away as well
        yield World(plane, cut, seed, daemon=daemon)
