"""All instances that moto has, and how long it has them: a terminated one is shown for an hour, then it goes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from moto.ec2.models import ec2_backends

from .. import names
from .semantics import backing

_KEPT = "oblako_kept"
"""Attribute of an EC2 backend, id to record: gone for clients, but a root volume of theirs is still there."""
_PRIMARY = "Primary network interface"
"""Moto's description of an interface that it made for an instance."""


def backends(of: Any = ec2_backends) -> Iterator[Any]:
    """Every account's and region's backend of a service; none is made by looking."""
    for accounts in list(dict.values(of)):
        yield from list(dict.values(accounts))


def tags_of(instance: Any) -> dict[str, str]:
    """An instance's tags as a dictionary."""
    # Moto's own way looks through the tags of all resources, for each instance.
    return dict(vars(instance.ec2_backend)["tags"].get(instance.id) or {})


def notebook_place(tags: Mapping[str, str]) -> tuple[str, str, str]:
    """Account, region and name of the notebook instance whose machine has these tags; empty where it is nobody's."""
    account, _, rest = tags.get(names.TAG_NOTEBOOK, "").partition("/")
    region, _, name = rest.partition("/")
    return account, region, name


def all_instances(*, forgotten: bool = False) -> Iterator[Any]:
    """Every instance of every account and region.

    Parameters
    ----------
    forgotten : bool
        Also those that no client sees any more and whose root volume was kept.
    """
    for backend in backends():
        for reservation in list(backend.reservations.values()):
            yield from list(reservation.instances)
        if forgotten:
            yield from list(vars(backend).get(_KEPT, {}).values())


def forget_terminated(visible: float) -> int:
    """Take away the records of instances that were terminated long enough ago; call with moto's lock held.

    Parameters
    ----------
    visible : float
        Seconds that a terminated instance is described.

    Returns
    -------
    int
        How many went.
    """
    now, count = time.time(), 0
    for backend in backends():
        for reservation in list(backend.reservations.values()):
            for instance in [one for one in reservation.instances if one.state == "terminated"]:
                mine = backing(instance)
                if not mine.ended and mine.written == "terminated":
                    mine.ended = now
                # One that may have left something in an engine is still needed to take it away.
                if mine.ended and now - mine.ended >= visible and not mine.unchecked:
                    _forget(backend, reservation, instance)
                    count += 1
        kept = vars(backend).get(_KEPT, {})
        for instance_id in [key for key, instance in kept.items() if not backing(instance).root_kept]:
            del kept[instance_id]
    return count


def _forget(backend: Any, reservation: Any, instance: Any) -> None:
    from .launch_rules import forget_token

    reservation.instances.remove(instance)
    if not reservation.instances:
        backend.reservations.pop(reservation.id, None)
        forget_token(backend, reservation.id)
    for nic in instance.nics.values():
        if nic.description == _PRIMARY and nic.instance is instance:
            backend.enis.pop(nic.id, None)
            backend.tags.pop(nic.id, None)
    for address in instance._private_ips:
        for subnets in backend.subnets.values():
            if instance.subnet_id in subnets:
                subnets[instance.subnet_id].del_subnet_ip(address)
    backend.tags.pop(instance.id, None)
    mine = backing(instance)
    if mine.root_volume_id not in backend.volumes:
        backend.tags.pop(mine.root_volume_id, None)
    if mine.root_kept:
        vars(backend).setdefault(_KEPT, {})[instance.id] = instance


def erase(instance: Any) -> None:
    """Take away all that a launch made which did not come to its end; nobody has been told its id."""
    backend = instance.ec2_backend
    volumes = [device.volume_id for device in list(instance.block_device_mapping.values())]
    instance.disable_api_termination = False
    instance._fleet_id = instance._spot_fleet_id = None  # that fleet is not there
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
