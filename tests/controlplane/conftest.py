"""Control planes for the tests of this folder: one that all share, and ones with settings of their own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from oblako_magic.engine import Engine
from tests.controlplane.planes import Plane, running_plane

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def new_plane(run_label: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """``with new_plane(engine, OBLAKO_X="y") as plane``: a control plane with these settings."""

    @contextmanager
    def start(engine: Engine, **environ: str) -> Iterator[Plane]:
        folder = tmp_path_factory.mktemp("plane")
        with running_plane(engine, folder / "state", run_label, f"{run_label}-c{next(_numbers)}", environ) as plane:
            yield plane

    return start


@pytest.fixture(scope="package")
def plane(engine_backend: Engine, new_plane: Callable[..., Any]) -> Iterator[Plane]:
    """One control plane for all tests of the folder, which each look only at instances of their own."""
    with ExitStack() as stack:
        yield stack.enter_context(new_plane(engine_backend))
