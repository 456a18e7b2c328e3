"""Host ports: chosen here and kept, because an engine's own choice changes at every start."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable
from dataclasses import replace

from ..errors import PortTaken
from ..model import PortMapping

_lock = threading.Lock()
_given: set[tuple[str, int]] = set()
"""Ports that were handed out and whose container may not listen yet."""


def free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Without it a port whose last connection is in TIME_WAIT would look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def choose(
    ports: Iterable[PortMapping], *, host: str, between: tuple[int, int], taken: Iterable[int] = (), begin: int = 0
) -> tuple[PortMapping, ...]:
    """Give every mapping its host port.

    Parameters
    ----------
    ports : iterable of PortMapping
        With 0 where any free port will do.
    host : str
        The address to listen on.
    between : (int, int)
        First and last port to choose from.
    taken : iterable of int
        Host ports that other instances own, running or not.
    begin : int
        Where in the range to look first. Control planes that begin at different places do not choose the ports
        that another's stopped instances keep, nor the same one at the same moment.

    Raises
    ------
    PortTaken
        Where a port that was asked for is in use, or none of the range is free.
    """
    owned = set(taken)
    chosen: list[PortMapping] = []
    with _lock:
        for mapping in ports:
            port = mapping.host_port
            if port:
                if port in owned or not free(host, port):
                    raise PortTaken(
                        f"port {port} on {host} is in use; free it or publish {mapping.container_port} on another."
                    )
            else:
                low, high = between
                size = high - low + 1
                turned = (low + (begin + n) % size for n in range(size))
                numbers = (n for n in turned if n not in owned and (host, n) not in _given and free(host, n))
                port = next(numbers, 0)
                if not port:
                    raise PortTaken(f"no port from {low} to {high} on {host} is free; widen OBLAKO_PUBLISH_PORTS.")
            owned.add(port)
            chosen.append(replace(mapping, host_port=port, host=host))
        _given.update((host, mapping.host_port) for mapping in chosen)
    return tuple(chosen)


def release(ports: Iterable[PortMapping]) -> None:
    """Forget ports of an instance that is gone."""
    with _lock:
        for mapping in ports:
            _given.discard((mapping.host, mapping.host_port))
