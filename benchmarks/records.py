"""The control plane alone: RunInstances and DescribeInstances against a plain moto server, by the number of records."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from oblako_magic import names

from .harness import Row, Spread, interleave, paired, timed
from .world import TYPE, World, client, plain_moto

SIZES = (1, 100, 1000)
_SIMULATED = [{"ResourceType": "instance", "Tags": [{"Key": names.TAG_BACKED, "Value": "false"}]}]
_AMI = "ami-03cf127a"
"""One that moto has built in, so that both servers take the same way."""


def _run(ec2: Any, count: int) -> None:
    ec2.run_instances(ImageId=_AMI, InstanceType=TYPE, MinCount=count, MaxCount=count, TagSpecifications=_SIMULATED)


def _fill(ec2: Any, have: int, want: int) -> None:
    while have < want:
        step = min(100, want - have)
        _run(ec2, step)
        have += step


def benchmarks(world: World) -> Iterator[Row]:
    """At 1, 100 and 1,000 records; every measured RunInstances adds one."""
    with plain_moto() as url, world.control_plane("records") as service:
        ours, theirs = client(service.endpoint_url), client(url)
        have = 0
        for size in SIZES:
            for ec2 in (ours, theirs):
                _fill(ec2, have, size)
            have = size
            rounds = world.rounds(20 if size < 1000 else 10, 4)
            described = interleave(
                [lambda: timed(ours.describe_instances), lambda: timed(theirs.describe_instances)], rounds
            )
            name = f"{size:,} record{'s' if size > 1 else ''}"
            yield paired("DescribeInstances of all", name, described[0], "moto server", described[1])
            launched = interleave(
                [lambda: timed(lambda: _run(ours, 1)), lambda: timed(lambda: _run(theirs, 1))], rounds
            )
            have += rounds + 1
            yield paired("RunInstances of one", name, launched[0], "moto server", launched[1])


def saves(world: World) -> Iterator[Row]:
    """One save of the state: read out of memory, written, fsynced; against the fsynced write of the same bytes."""
    answer = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.save",
            str(world.folder / "saves"),
            str(world.rounds(30, 5)),
            *map(str, SIZES),
        ],
        check=True,
        stdout=subprocess.PIPE,
    )
    for line in json.loads(answer.stdout):
        held = Spread.of(line["held"])
        yield paired(
            "Save of the state",
            f"{line['records']:,} record{'s' if line['records'] > 1 else ''}, {line['bytes'] / 1e3:,.0f} kB",
            line["save"],
            "the same bytes: write, fsync, rename",
            line["write"],
            note=f"moto's lock is held for {1e3 * held.median:.1f} ms of it",
        )
