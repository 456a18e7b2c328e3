"""One service and one instance for the tests of a module that do not end it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oblako_magic import Ec2
from oblako_magic.handles import Instance
from tests.support.plane import ControlPlane


@pytest.fixture(scope="module")
def cloud(shared_control_plane: ControlPlane) -> Ec2:
    """The Python API on the module's control plane."""
    return Ec2(shared_control_plane.settings)


@pytest.fixture(scope="module")
def machine(cloud: Ec2) -> Iterator[Instance]:
    """An instance that runs as long as the module's tests do."""
    (instance,) = cloud.run(name="machine")
    yield instance
    instance.terminate()
