"""The rows of ``GET /instances``: what the loop knows of an instance, and what its record says. Reads only."""

from __future__ import annotations

from typing import Any

from .. import names
from ..model import PortMapping
from .records import notebook_place, tags_of
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
        ``view`` and the record's own facts, as JSON can hold them.
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


def view(instance: Any) -> dict[str, Any]:
    """What the control plane's own API tells of an instance beyond DescribeInstances."""
    mine = backing(instance)
    return {
        "id": instance.id,
        "state": instance.state,
        "name": tags_of(instance).get("Name", ""),
        "account": str(instance.owner_id),
        "region": instance.region_name,
        "notebook": _notebook_name(instance),
        "backed": mine.backed,
        "image": mine.image,
        "container": names.container_name(instance.id) if mine.container_id else "",
        "container_id": mine.container_id,
        "address": mine.address,
        "ports": [_port(port) for port in (*mine.ports, *mine.live)],
        "impaired": mine.impaired if instance.state == "running" or mine.want == "running" else "",
        "note": mine.note,
        "progress": mine.progress,
        "user_data": mine.user_data,
        "rebooting": mine.backed and mine.want == "running" and mine.reboots > mine.reboots_done,
        "reason": instance.state_reason.message,
        "reason_code": instance.state_reason.code,
    }


def _notebook_name(instance: Any) -> str:
    """Of the notebook instance whose machine it is; empty for all others."""
    if str(instance.owner_id) != names.NOTEBOOK_ACCOUNT:
        return ""
    return notebook_place(tags_of(instance))[2]


def _port(port: PortMapping) -> dict[str, Any]:
    return {
        "container_port": port.container_port,
        "host_port": port.host_port,
        "host": port.host,
        "live": port.live,
    }
