"""The engine's bridge: the address at which an instance reaches the host."""

from __future__ import annotations

import ipaddress
import socket

from .. import names
from ..errors import EngineError, NotFound
from .client import Engine
from .translate import translated


def gateway(engine: Engine) -> str | None:
    """The bridge's address on the host; None where the engine has no bridge of its own."""
    return _gateway(engine, "podman" if engine.podman else "bridge")


def _gateway(engine: Engine, name: str) -> str | None:
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


def ensure_closed(engine: Engine) -> None:
    """Make the network of instances without internet access; one that is there already is left as it is.

    What leaves it keeps the instance's own address, to which no answer comes back. This host is reached, and reaches
    the published ports.

    Raises
    ------
    EngineError
        Where the engine has no such networks.
    """
    if engine.podman:
        raise EngineError(
            "this engine can't keep an instance from the internet and publish its ports; use Docker, or leave "
            "DirectInternetAccess Enabled."
        )
    try:
        with translated("look at the network without internet access"):
            engine.api.inspect_network(names.NO_INTERNET_NETWORK)
        return
    except NotFound:
        pass
    try:
        with translated("make the network without internet access"):
            engine.api.create_network(
                names.NO_INTERNET_NETWORK,
                driver="bridge",
                options={"com.docker.network.bridge.enable_ip_masquerade": "false"},
                check_duplicate=True,
                labels={**engine.labels, names.LABEL_SERVICE: names.SERVICE_EC2},
            )
    except EngineError as error:
        if "already exists" not in str(error):  # somebody else made it at the same time
            raise


def closed_gateway(engine: Engine) -> str | None:
    """The address at which instances without internet access reach this host; None where there is no such network."""
    try:
        return _gateway(engine, names.NO_INTERNET_NETWORK)
    except NotFound:
        return None
