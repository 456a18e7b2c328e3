"""Where an instance's container can be dialled from this host: at its own address, or by way of a relay (ADR 0007)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import names
from ..errors import NotFound
from . import networks
from .client import Engine
from .translate import translated


@dataclass(frozen=True)
class Place:
    """Where an instance's container is just now.

    Parameters
    ----------
    container_id : str
    address : str
        On the engine's network.
    network : str
        That network's name.
    image : str
        The id of the image that the container is of.
    here : bool
        Whether this host can dial the address.
    """

    container_id: str
    address: str
    network: str
    image: str
    here: bool


def locate(engine: Engine, instance_id: str) -> Place | None:
    """Look where the container is; None where it does not run.

    Raises
    ------
    EngineError
    """
    try:
        with translated(f"look at the container of {instance_id}"):
            raw = engine.api.inspect_container(names.container_name(instance_id))
    except NotFound:
        return None
    if not (raw.get("State") or {}).get("Running"):
        return None
    settings = raw.get("NetworkSettings") or {}
    for network, found in (settings.get("Networks") or {}).items():
        if found.get("IPAddress"):
            return Place(
                str(raw["Id"]),
                str(found["IPAddress"]),
                str(network),
                str(raw.get("Image") or ""),
                _here(engine, raw, found),
            )
    return None


def _here(engine: Engine, raw: Mapping[str, Any], network: Mapping[str, Any]) -> bool:
    """Whether the container's address means that container on this host, too.

    Another engine's container may have the same address here, behind a bridge that looks the same: so its process
    must be one of this kernel's, the engine not in a namespace of its own, and the bridge's address this host's.
    """
    if sys.platform != "linux" or engine.rootless:
        return False
    try:
        groups = Path(f"/proc/{int(raw['State'].get('Pid') or 0)}/cgroup").read_text()
    except (OSError, ValueError):
        return False
    gateway = str(network.get("Gateway") or "")
    return str(raw["Id"]) in groups and bool(gateway) and networks.is_local(gateway)
