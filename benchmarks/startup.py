"""``%load_ext`` against a bare IPython, and the control plane's start."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from oblako_magic.controlplane import process
from oblako_magic.settings import Settings

from .harness import Row, Spread, interleave, paired
from .world import World, client, plain_moto

_SHELL = """
import json, sys, threading, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
begun = time.perf_counter()
if sys.argv[1] == "load":
    shell.run_line_magic("load_ext", "oblako_magic")
seconds = time.perf_counter() - begun
print(json.dumps(seconds), flush=True)
for thread in threading.enumerate():
    if thread.name == "oblako-start":
        thread.join()  # a kernel lives on, too
"""
_numbers = itertools.count(1)


def _stop(settings: Settings) -> None:
    """Stop a control plane that may just be starting."""
    process.wait(settings, 120)
    process.stop(settings)


def _shell(what: str, state_dir: Path) -> tuple[float, float]:
    """(seconds from the start of the process until the line is through, seconds of %load_ext in it)."""
    environ = {**os.environ, "OBLAKO_STATE_DIR": str(state_dir)}
    begun = time.perf_counter()
    shell = subprocess.Popen([sys.executable, "-c", _SHELL, what], env=environ, stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    line = ""
    while not line.strip().replace(".", "").replace("e-", "").isdigit():
        line = shell.stdout.readline()
        if not line:
            raise RuntimeError("the shell ended early")
    whole = time.perf_counter() - begun
    shell.communicate()
    return whole, float(json.loads(line))


def _load_ext(world: World, name: str, state_dir: Callable[[], Path], after: Callable[[Path], None]) -> Iterator[Row]:
    inside: list[float] = []

    def loaded() -> float:
        folder = state_dir()
        whole, seconds = _shell("load", folder)
        after(folder)
        inside.append(seconds)
        return whole

    rounds = world.rounds(15, 4)
    mine, bare = interleave([loaded, lambda: _shell("bare", world.folder / "bare")[0]], rounds)
    note = "the target holds for the difference"
    more: dict[str, Any] = {"target": 0.150, "absolute": True}
    yield Row("%load_ext oblako_magic", f"{name}: the line itself", Spread.of(inside[-rounds:]), **more)
    yield paired("%load_ext oblako_magic", f"{name}: whole process", mine, "bare IPython", bare, note=note, **more)


def load_ext(world: World) -> Iterator[Row]:
    """With a control plane that runs, and with none: then loading begins to start it."""
    with world.control_plane("load") as ec2:
        yield from _load_ext(world, "control plane runs", lambda: ec2.settings.state_dir, lambda folder: None)

    def stop(folder: Path) -> None:
        _stop(world.settings(folder.name))

    yield from _load_ext(world, "none runs", lambda: world.folder / f"load-{next(_numbers)}", stop)


def control_plane(world: World) -> Iterator[Row]:
    """From nothing until it answers, and until the first DescribeInstances is answered; beside a moto server."""
    cpu: list[float] = []
    answered: list[float] = []

    def ours() -> float:
        settings = world.settings(f"start-{next(_numbers)}")
        begun = time.perf_counter()
        process.start(settings)
        runtime = process.wait(settings, 120)
        answered.append(time.perf_counter() - begun)
        times = psutil.Process(runtime.pid).cpu_times()
        cpu.append(times.user + times.system)
        ec2 = client(runtime.url)
        ec2.describe_instances()
        seconds = time.perf_counter() - begun
        process.stop(settings)
        return seconds

    def theirs() -> float:
        begun = time.perf_counter()
        with plain_moto() as url:
            client(url).describe_instances()
            return time.perf_counter() - begun

    rounds = world.rounds(9, 2)
    mine, other = interleave([ours, theirs], rounds)
    group = "Start of the control plane"
    yield Row(group, "until it answers", Spread.of(answered[-rounds:]))
    yield Row(group, "its CPU time by then", Spread.of(cpu[-rounds:]))
    yield paired(group, "until the first DescribeInstances is answered", mine, "moto server", other)
