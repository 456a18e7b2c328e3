"""Take back what a launch that failed in the middle has left in moto's records, whichever service it was of."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from moto.autoscaling.models import autoscaling_backends

from .groups import all_groups
from .intent import Intent
from .records import backends, erase

log = logging.getLogger(__name__)


LAUNCHES = frozenset(
    {
        *("RunInstances", "CreateFleet", "ModifyFleet", "RequestSpotInstances", "RequestSpotFleet"),
        *("ModifySpotFleetRequest", "CreateAutoScalingGroup", "UpdateAutoScalingGroup", "SetDesiredCapacity"),
        *("CreateNotebookInstance", "StartNotebookInstance"),
    }
)
"""Actions that launch instances and make them all or none. A stack has a rollback of its own (``stacks``)."""
_MADE = (
    *("spot_instance_requests", "spot_fleet_requests", "fleets", "tags"),
    *("autoscaling_groups", "launch_configurations"),
)
"""Attributes of EC2's and Auto Scaling's backends that may have new entries after half a launch."""
_SIZES = ("desired_capacity", "min_size", "max_size")


@dataclass(frozen=True)
class Mark:
    """What is there before a launch.

    Parameters
    ----------
    ec2 : list of (backend, interfaces, volumes)
    made : list of (dictionary, keys)
    groups : list of (group, sizes)
    """

    ec2: list[tuple[Any, set[str], set[str]]]
    made: list[tuple[dict[str, Any], set[str]]]
    groups: list[tuple[Any, tuple[Any, ...]]]


def mark(action: str) -> Mark | None:
    """What is there now; None where the action launches nothing. Moto's lock is held from here to the action's end."""
    if action not in LAUNCHES:
        return None
    tables = [vars(backend).get(name) for backend in (*backends(), *backends(autoscaling_backends)) for name in _MADE]
    return Mark(
        [(backend, set(backend.enis), set(backend.volumes)) for backend in backends()],
        [(table, set(table)) for table in tables if isinstance(table, dict)],
        [(group, tuple(getattr(group, name) for name in _SIZES)) for group in all_groups()],
    )


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
        erase(instance)
    for backend, interfaces, volumes in before.ec2:
        # Moto makes an interface before it looks at the volumes, and the instance known after both.
        for key in set(backend.enis) - interfaces:
            interface = backend.enis.pop(key)
            interface.subnet.del_subnet_ip(interface.private_ip_address)
        for key in set(backend.volumes) - volumes:
            del backend.volumes[key]
    for table, keys in before.made:
        for key in set(table) - keys:
            del table[key]
    for group, sizes in before.groups:
        for name, value in zip(_SIZES, sizes, strict=True):
            setattr(group, name, value)
        group.instance_states = [member for member in group.instance_states if member.instance not in new]
    if new:
        log.warning("taken back with the request that failed: %s", ", ".join(instance.id for instance in new))
    return [instance.id for instance in new]


def _everything() -> Iterator[Any]:
    for backend in backends():
        for reservation in list(backend.reservations.values()):
            yield from list(reservation.instances)
