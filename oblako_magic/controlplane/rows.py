"""The rows of ``GET /instances``: what the loop knows of an instance, and what its record says. Reads only."""

from __future__ import annotations

from typing import Any

from .intent import tags_of, view
from .semantics import backing


def row(instance: Any) -> dict[str, Any]:
    """All that a front end shows of an instance, so that it need not ask DescribeInstances at every change.

    Parameters
    ----------
    instance : moto.ec2.models.instances.Instance
        Call with moto's lock held.

    Returns
    -------
    dict
        ``intent.view`` and the record's own facts, as JSON can hold them.
    """
    return {
        **view(instance),
        "type": instance.instance_type,
        "image_id": instance.image_id or "",
        "zone": instance.availability_zone or "",
        "private_ip": instance.private_ip or "",
        "public_ip": instance.public_ip or "",
        "subnet_id": instance.subnet_id or "",
        "vpc_id": instance.vpc_id or "",
        "key_name": instance.key_name or "",
        "launch_time": instance.launch_time.isoformat() if instance.launch_time else "",
        "groups": [{"id": group.id, "name": group.name} for group in instance.security_groups],
        "tags": tags_of(instance),
        "volumes": sorted(
            (_volume(instance, *item) for item in instance.block_device_mapping.items()),
            key=lambda volume: (not volume["root"], volume["device"]),
        ),
    }


def _volume(instance: Any, device: str, mapping: Any) -> dict[str, Any]:
    known = instance.ec2_backend.volumes.get(mapping.volume_id)
    return {
        "device": device,
        "volume_id": mapping.volume_id or "",
        "root": mapping.volume_id == backing(instance).root_volume_id,
        "size": int((known.size if known else mapping.size) or 0),
        "delete_on_termination": bool(mapping.delete_on_termination),
    }
