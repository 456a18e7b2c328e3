"""Make moto's record of an instance anew from the labels of its container."""

from __future__ import annotations

import datetime
import ipaddress
import json
import logging
from typing import Any
from unittest import mock

from moto.ec2.models import ec2_backends
from moto.ec2.models import instances as moto_instances

from .. import names
from ..model import ContainerState
from . import notebook_rebuild
from .launch_rules import trusted
from .semantics import backing

log = logging.getLogger(__name__)


def rebuild(container: ContainerState, engine_run: str) -> Any:
    """The record of a container's instance, registered with moto. Call with moto's lock held.

    Parameters
    ----------
    container : ContainerState
        As ``engine.containers.find`` gives it, with labels and ports.
    engine_run : str
        The run of the engine in which it was seen.

    Returns
    -------
    moto.ec2.models.instances.Instance
    """
    labels = container.labels
    account = labels.get(names.LABEL_ACCOUNT) or "123456789012"
    region = labels.get(names.LABEL_REGION) or "us-east-1"
    try:
        kept = json.loads(labels.get(names.LABEL_RECORD) or "{}")
    except ValueError:
        kept = {}
    notebook_rebuild.check(kept)
    backend = ec2_backends[account][region]
    subnet = _subnet(backend, kept)
    # Moto draws the id itself; the lock keeps others from drawing meanwhile.
    made_with_its_id = mock.patch.object(moto_instances, "random_instance_id", return_value=container.instance_id)
    with made_with_its_id, trusted():
        reservation = backend.run_instances(
            image_id=kept.get("image_id") or container.image,
            count=1,
            user_data=None,
            security_group_names=[],
            instance_type=kept.get("instance_type") or "t3.micro",
            is_instance_type_default=False,
            region_name=region,
            subnet_id=subnet.id if subnet is not None else None,
            private_ip=_address(subnet, kept),
            key_name=kept.get("key_name"),
            instance_initiated_shutdown_behavior=kept.get("shutdown"),
            tags={
                "instance": {
                    key: value for key, value in (kept.get("tags") or {}).items() if not key.startswith("aws:")
                }
            },
        )
    instance = reservation.instances[0]
    if kept.get("launch_time"):
        try:
            instance.launch_time = datetime.datetime.fromisoformat(kept["launch_time"])
        except ValueError:
            log.warning("%s: launch time %r", instance.id, kept["launch_time"])
    running = container.running
    mine = backing(instance)
    mine.want = "running" if running else "stopped"
    mine.started = mine.generation
    mine.image, mine.container_id, mine.ports = container.image, container.container_id, container.ports
    # What the loop will see, too: a notebook instance would count as started anew when that changes.
    mine.engine_run = engine_run if running else ""
    mine.written = "running" if running else "stopped"
    instance._state = moto_instances.InstanceState(mine.written, 16 if running else 80)
    notebook_rebuild.restore(instance, kept.get("notebook"))
    return instance


def _subnet(backend: Any, kept: dict[str, Any]) -> Any:
    """The subnet that it was in, or the default one of its zone: the VPC itself may be lost."""
    if kept.get("subnet_id") in backend.subnets.get(kept.get("zone") or "", {}):
        return backend.get_subnet(kept["subnet_id"])
    subnets = backend.get_default_subnets()
    return subnets.get(kept.get("zone")) or next(iter(subnets.values()), None)


def _address(subnet: Any, kept: dict[str, Any]) -> str | None:
    """Its private address, where that is free in the subnet."""
    try:
        address = ipaddress.ip_address(kept.get("private_ip") or "")
    except ValueError:
        return None
    if subnet is None or address not in ipaddress.ip_network(subnet.cidr_block):
        return None
    taken = {str(ip) for ip in getattr(subnet, "_subnet_ips", {})}
    return None if str(address) in taken else str(address)
