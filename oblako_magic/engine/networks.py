"""The engine's bridge: the address at which an instance reaches the host."""

from __future__ import annotations

import ipaddress
import socket

from .client import Engine
from .translate import translated


def gateway(engine: Engine) -> str | None:
    """The bridge's address on the host; None where the engine has no bridge of its own."""
    name = "podman" if engine.podman else "bridge"
    with translated("look at the engine's bridge"):
        config = (engine.api.inspect_network(name).get("IPAM") or {}).get("Config") or []
    for block in config:
        address = block.get("Gateway")
        if address and ":" not in address:
            return str(address)
        # Docker 20.10 leaves it out of a bridge that was made in this daemon's life: it is the subnet's first address.
        if not address and block.get("Subnet") and ":" not in block["Subnet"]:
            return str(ipaddress.ip_network(block["Subnet"], strict=False)[1])
    return None


def host_alias(engine: Engine) -> str:
    """What ``host.docker.internal`` stands for in a container's hosts file.

    Podman before 4.7 writes ``host-gateway`` literally into the file and breaks the line, so it gets the address.
    """
    if engine.podman:
        return gateway(engine) or "127.0.0.1"
    return "host-gateway"


def is_local(address: str) -> bool:
    """Whether the address is one of this host's."""
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
