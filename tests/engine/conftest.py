"""Instances' containers without a control plane."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest

from oblako_magic import names
from oblako_magic.engine import Engine, build, containers, images, volumes
from oblako_magic.model import ContainerSpec

Make = Callable[..., ContainerSpec]


@pytest.fixture
def spec(engine_backend: Engine) -> Iterator[Make]:
    """Make the description of a container; the container and its volume are removed at the end."""
    made: list[str] = []

    def make(**kwargs: object) -> ContainerSpec:
        instance_id = f"i-test{secrets.token_hex(6)}"
        made.append(instance_id)
        return ContainerSpec(instance_id, build.TINY_IMAGE, **kwargs)  # type: ignore[arg-type]

    yield make
    for instance_id in made:
        containers.remove(engine_backend, instance_id)
        volumes.remove(engine_backend, names.root_volume_name(instance_id))


@pytest.fixture
def tiny(engine_backend: Engine) -> images.Image:
    """The tiny image as this engine has it."""
    found = images.local(engine_backend, build.TINY_IMAGE)
    assert found is not None
    return found


@pytest.fixture
def running(engine_backend: Engine, spec: Make, tiny: images.Image) -> str:
    """The instance id of a container that runs."""
    one = spec()
    containers.create(engine_backend, one, tiny)
    containers.start(engine_backend, one.instance_id)
    return one.instance_id
