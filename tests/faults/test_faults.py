"""The short form of ``python -m tests.faults``: what was acknowledged is there, whatever fails meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from oblako_magic.engine import Engine
from tests.conftest import missing
from tests.faults.world import FAULTS, World, world

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def faulty(engine_backend: Engine, run_label: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One control plane that all the faults of this module happen to, one after the other."""
    if os.name != "posix" or os.geteuid() != 0:
        missing("a disk of its own, to be filled, takes root")
    with world(engine_backend, tmp_path_factory.mktemp("faults"), run_label, "ci") as one:
        one.limit = 30  # CI shares its machine; `make soak` holds it to the promised 10 s
        yield one


# The engine's own end: test_engine_restart.py, on a daemon of its own.
@pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"engine ended"}))
def test_nothing_acknowledged_is_lost(faulty: World, fault: str) -> None:
    faulty.round(fault)
    assert faulty.counts["acknowledged"] > 0


def test_nothing_acknowledged_is_lost_when_faults_come_together(faulty: World) -> None:
    for _ in range(3):
        faulty.round()
    print(faulty.report())
