"""Named volumes: an instance's EBS root and further EBS volumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .. import names
from ..errors import EngineError, NotFound
from .client import Engine
from .translate import translated


@dataclass(frozen=True)
class Volume:
    """A volume that carries our labels."""

    name: str
    labels: Mapping[str, str]


def ensure(engine: Engine, name: str, labels: Mapping[str, str]) -> None:
    """Make the volume; one that is there already is left as it is."""
    try:
        with translated(f"make the volume {name}"):
            engine.api.create_volume(name=name, labels={**engine.labels, **labels})
    except EngineError as error:
        if "already exists" not in str(error):  # Podman, where somebody else makes it at the same time
            raise


def exists(engine: Engine, name: str) -> bool:
    """Whether the engine has the volume."""
    try:
        with translated(f"look at the volume {name}"):
            engine.api.inspect_volume(name)
    except NotFound:
        return False
    return True


def remove(engine: Engine, name: str) -> None:
    """Remove the volume and the data in it; already gone is success."""
    try:
        with translated(f"remove the volume {name}"):
            engine.api.remove_volume(name)
    except NotFound:
        return


def all_volumes(engine: Engine) -> list[Volume]:
    """Every volume with the label of this service, whoever made it."""
    with translated("list the volumes"):
        found = engine.api.volumes(filters={"label": f"{names.LABEL_SERVICE}={names.SERVICE_EC2}"})
    return [Volume(item["Name"], item.get("Labels") or {}) for item in found.get("Volumes") or []]
