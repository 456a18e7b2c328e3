"""Take back what a launch that failed in the middle has left in moto's records."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from moto.ec2.models import ec2_backends

from .intent import Intent

log = logging.getLogger(__name__)


Mark = list[tuple[Any, set[str], set[str]]]
"""Of each EC2 backend: its interfaces and volumes."""


def mark() -> Mark:
    """What is there before a launch; moto's lock is held from here to its end."""
    return [(backend, set(backend.enis), set(backend.volumes)) for backend in _backends()]


def launches(intent: Intent, before: Mark) -> list[str]:
    """Forget what the failed launch made; call with moto's lock held, before the scan.

    Their ids were told nobody, and the loop has not seen them: nothing of theirs is in the engine.

    Returns
    -------
    list of str
        Their ids.
    """
    new = [instance for instance in _everything() if intent.get(instance.id) is None]
    for instance in new:
        _forget(instance)
    for backend, interfaces, volumes in before:
        # Moto makes an interface before it looks at the volumes, and the instance known after both.
        for key in set(backend.enis) - interfaces:
            interface = backend.enis.pop(key)
            interface.subnet.del_subnet_ip(interface.private_ip_address)
            backend.tags.pop(key, None)
        for key in set(backend.volumes) - volumes:
            del backend.volumes[key]
            backend.tags.pop(key, None)
    if new:
        log.warning("taken back with the request that failed: %s", ", ".join(instance.id for instance in new))
    return [instance.id for instance in new]


def _backends() -> Iterator[Any]:
    for accounts in list(dict.values(ec2_backends)):
        yield from list(dict.values(accounts))


def _everything() -> Iterator[Any]:
    for backend in _backends():
        for reservation in list(backend.reservations.values()):
            yield from list(reservation.instances)


def _forget(instance: Any) -> None:
    backend = instance.ec2_backend
    volumes = [device.volume_id for device in list(instance.block_device_mapping.values())]
    instance.disable_api_termination = False
    instance.terminate()  # gives addresses, interfaces and volumes back
    for volume_id in volumes:
        backend.volumes.pop(volume_id, None)
        backend.tags.pop(volume_id, None)
    backend.tags.pop(instance.id, None)
    for key, reservation in list(backend.reservations.items()):
        if instance in reservation.instances:
            reservation.instances.remove(instance)
            if not reservation.instances:
                del backend.reservations[key]
