"""What the container of an instance is made of, read from moto's record of it. Reads only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES

from .. import catalog, names
from ..model import ContainerSpec, Limits
from ..settings import Settings
from . import notebook_view
from .records import tags_of
from .semantics import IMAGE_ATTRIBUTE, backing


def image_of(instance: Any, instances: Mapping[str, Any], settings: Settings) -> tuple[str, bool]:
    """The container image and whether it was named explicitly, in the order of the documentation."""
    tagged = tags_of(instance).get(names.TAG_IMAGE)
    ami = instance.ec2_backend.amis.get(instance.image_id)
    registered = getattr(ami, IMAGE_ATTRIBUTE, None)
    if tagged or registered:
        return str(tagged or registered), True
    source = instances.get(getattr(ami, "instance_id", None) or "")
    if source is not None and backing(source).image:
        return backing(source).image, True
    if settings.image:
        return settings.image, True
    return catalog.image_for_ami_name(getattr(ami, "name", None)) or names.DEFAULT_IMAGE, False


def spec_of(instance: Any, instances: Mapping[str, Any], settings: Settings, control_plane: str) -> ContainerSpec:
    """What its container is made of.

    Parameters
    ----------
    instance : moto.ec2.models.instances.Instance
    instances : mapping of str to Instance
        All, by id: an AMI made of one of them has its image.
    settings : Settings
    control_plane : str
        The id that goes on labels.
    """
    mine = backing(instance)
    tags = tags_of(instance)
    command = None
    if tags.get(names.TAG_COMMAND):
        try:
            words = json.loads(tags[names.TAG_COMMAND])
        except ValueError:
            words = ["/bin/sh", "-c", tags[names.TAG_COMMAND]]
        command = tuple(map(str, words)) if isinstance(words, list) else (str(words),)
    limits = Limits()
    if settings.limits and instance.instance_type in INSTANCE_TYPES:
        kind = INSTANCE_TYPES[instance.instance_type]
        limits = Limits(float(kind["VCpuInfo"]["DefaultVCpus"]), int(kind["MemoryInfo"]["SizeInMiB"]))
    labels = {
        names.LABEL_CONTROL_PLANE: control_plane,
        names.LABEL_ACCOUNT: str(instance.owner_id),
        names.LABEL_REGION: instance.region_name,
        names.LABEL_VOLUME: mine.root_volume_id,
        names.LABEL_RECORD: json.dumps(record(instance, tags), separators=(",", ":")),
    }
    spec = ContainerSpec(
        instance_id=instance.id,
        image=mine.image or image_of(instance, instances, settings)[0],
        command=command,
        hostname=names.hostname(instance.private_ip or "0.0.0.0"),
        ports=mine.ports,
        limits=limits,
        labels=labels,
    )
    return notebook_view.shaped(instance, spec)


def record(instance: Any, tags: dict[str, str]) -> dict[str, Any]:
    """What an instance's container carries, so that its record can be rebuilt without the state file.

    No user data and no key material: labels can be read by whoever may talk to the engine.
    """
    kept: dict[str, Any] = {
        "image_id": instance.image_id,
        "instance_type": instance.instance_type,
        "subnet_id": instance.subnet_id,
        "zone": instance.availability_zone,
        "private_ip": instance.private_ip,
        "key_name": instance.key_name,
        "launch_time": instance.launch_time.isoformat() if instance.launch_time else None,
        "shutdown": instance.instance_initiated_shutdown_behavior,
        "tags": tags,
    }
    notebook = notebook_view.record(instance)
    return kept if notebook is None else {**kept, "notebook": notebook}
