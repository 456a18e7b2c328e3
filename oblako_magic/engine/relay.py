"""Relays: small containers by way of which an instance is reached whose address this host can't dial (ADR 0007).

A relay stands on the instance's network, and the engine publishes its one port on this host's loopback: however an
engine in a VM does that, it is what it does for every ``-p``. It holds no data and may be removed at any time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

from .. import names
from ..errors import EngineError, EngineUnavailable, ImageError, NotFound
from . import images
from .client import Engine
from .containers import published_at
from .dial import Place
from .tiny import TINY_IMAGE
from .translate import translated

BUSYBOX: Final = "busybox:stable"
"""Pulled where nothing else that can relay is here."""
_PORT: Final = 8000
_PATIENCE: Final = 15.0
"""Seconds that a relay may take until it listens."""
_READY: Final = b"ready"
_MEMORY: Final = 256 << 20

# For every Python 3 that an image may bring. A thread for each direction: neither can hold the other one up.
_PYTHON: Final = """\
import socket, struct, sys, threading

def carry(source, sink):
    try:
        while True:
            data = source.recv(65536)
            if not data:
                break
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            try:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

def serve(client):
    try:
        server = socket.create_connection((sys.argv[2], int(sys.argv[3])), 10)
    except OSError:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        return
    server.settimeout(None)
    back = threading.Thread(target=carry, args=(server, client), daemon=True)
    back.start()
    carry(client, server)
    back.join()
    client.close()
    server.close()

threading.stack_size(262144)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("", int(sys.argv[1])))
listener.listen(512)
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
# busybox's nc: with two l it serves one client after the other, each in a process of its own, and as many as there
# are more l may wait. A stream that fills both directions at the same time can stall in it.
_NC: Final = f'echo ready; exec nc -{"l" * 128} -p "$0" -e nc "$1" "$2"'


@dataclass(frozen=True)
class Kind:
    """An image that can relay, and the command that does it; the ports and the address come after it."""

    image: str
    command: tuple[str, ...]


def with_python(image: str) -> Kind:
    """A relay in Python, for an image that has one."""
    return Kind(image, ("python3", "-c", _PYTHON))


def with_busybox(image: str) -> Kind:
    """A relay of busybox's nc."""
    return Kind(image, ("sh", "-c", _NC))


_unfit: set[Kind] = set()
"""What was tried and can't: an image of its instance without Python, mostly."""


def kinds(engine: Engine, place: Place, pull_timeout: float) -> Iterator[Kind]:
    """What may do, the best first; the last one is pulled only when it is asked for."""
    yield with_python(place.image)  # that one is here
    for name, kind in ((names.BASE_IMAGE, with_python), (TINY_IMAGE, with_busybox), (BUSYBOX, with_busybox)):
        found = images.local(engine, name)
        if found is not None:
            yield kind(found.name)
    found, _ = images.Resolver(pull_timeout).resolve(engine, BUSYBOX, fallback=False)
    yield with_busybox(found.name)


def ensure(
    engine: Engine,
    instance_id: str,
    port: int,
    place: Place,
    control_plane: str,
    pull_timeout: float = 900,
    *,
    kind: Kind | None = None,
) -> tuple[str, int]:
    """See that a relay to a port of a container runs; one that leads elsewhere is replaced.

    Parameters
    ----------
    engine : Engine
    instance_id : str
    port : int
    place : Place
        Where the container is now.
    control_plane : str
        The id that goes on the label.
    pull_timeout : float
        Seconds.
    kind : Kind, optional
        The first that works by default.

    Returns
    -------
    (str, int)
        Address and TCP port on this host.

    Raises
    ------
    EngineError
        Where it can't be made; nothing is left then.
    """
    name, goal = names.relay_name(instance_id, port), f"{place.address}:{port}"
    there = _running(engine, name, goal)
    if there is not None:
        return there
    remove(engine, name)
    labels = {
        **engine.labels,
        names.LABEL_SERVICE: names.SERVICE_RELAY,
        names.LABEL_CONTROL_PLANE: control_plane,
        names.LABEL_INSTANCE: instance_id,
        names.LABEL_RELAY: goal,
    }
    try:
        for one in (kind,) if kind else kinds(engine, place, pull_timeout):
            if one not in _unfit and _start(engine, name, one, (str(_PORT), place.address, str(port)), place, labels):
                made = _running(engine, name, goal)
                if made is not None:
                    return made
            remove(engine, name)
            _unfit.add(one)
    except ImageError as error:
        raise ImageError(
            f"port {port} of {instance_id} can only be reached by a relay, and there is no image for one: {error}"
        ) from error
    raise EngineError(f"the relay to port {port} of {instance_id} does not start; its image has no Python and no nc.")


def _start(
    engine: Engine, name: str, kind: Kind, arguments: tuple[str, ...], place: Place, labels: dict[str, str]
) -> bool:
    """Make a relay and wait until it listens; False where this image can't."""
    api = engine.api
    with translated(f"make the relay {name}"):
        api.create_container(
            kind.image,
            command=[*kind.command, *arguments],
            entrypoint=[],
            name=name,
            labels=labels,
            user="65534:65534",
            ports=[_PORT],
            host_config=api.create_host_config(
                network_mode=place.network,
                port_bindings={f"{_PORT}/tcp": ("127.0.0.1",)},
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                read_only=True,
                mem_limit=_MEMORY,
            ),
        )
    try:
        with translated(f"start the relay {name}"):
            api.start(name)
    except EngineUnavailable:
        raise
    except EngineError:
        return False  # it has no such program
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        with translated(f"look at the relay {name}"):
            running = api.inspect_container(name)["State"].get("Running")
            if _READY in api.logs(name):
                return True
        if not running:
            return False
        time.sleep(0.05)
    return False


def _running(engine: Engine, name: str, goal: str) -> tuple[str, int] | None:
    """Where the relay listens that runs and leads to this goal; None where there is none."""
    try:
        with translated(f"look at the relay {name}"):
            raw = engine.api.inspect_container(name)
    except NotFound:
        return None
    labels = (raw.get("Config") or {}).get("Labels") or {}
    ports = published_at((raw.get("NetworkSettings") or {}).get("Ports"))
    if not (raw.get("State") or {}).get("Running") or labels.get(names.LABEL_RELAY) != goal or not ports:
        return None
    return "127.0.0.1", ports[0].host_port


def remove(engine: Engine, name: str) -> None:
    """Remove a relay; already gone is success."""
    with contextlib.suppress(NotFound), translated(f"remove the relay {name}"):
        engine.api.remove_container(name, force=True, v=True)


def sweep(engine: Engine, control_plane: str, *, keep: Collection[tuple[str, int]]) -> None:
    """Remove the relays of a control plane that lead to none of these ports of instances.

    Raises
    ------
    EngineError
    """
    kept = {names.relay_name(*key) for key in keep}
    filters = {
        "label": [
            f"{names.LABEL_SERVICE}={names.SERVICE_RELAY}",
            f"{names.LABEL_CONTROL_PLANE}={control_plane}",
        ]
    }
    with translated("list the relays"):
        rows: list[dict[str, Any]] = engine.api.containers(all=True, filters=filters)
    for row in rows:
        for name in (text.lstrip("/") for text in row.get("Names") or []):
            if name not in kept:
                remove(engine, name)
