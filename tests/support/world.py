"""What tests ask of the engine, the only witness that counts."""

from __future__ import annotations

import json
from typing import Any

from oblako_magic import names
from oblako_magic.engine import build, containers, images
from oblako_magic.model import ContainerSpec
from tests.support.plane import ControlPlane, eventually


def runs(plane: ControlPlane, instance_id: str) -> bool:
    """Whether the instance's container runs now."""
    container = plane.container(instance_id)
    return container is not None and bool(container["State"]["Running"])


def started_at(plane: ControlPlane, instance_id: str) -> str:
    """When the instance's container was started last; empty where there is none."""
    container = plane.container(instance_id)
    return str(container["State"]["StartedAt"]) if container else ""


def running(plane: ControlPlane, *instance_ids: str, timeout: float = 20) -> list[dict[str, Any]]:
    """Wait until the containers of all these instances run; what the engine says of them."""
    eventually(
        lambda: all(runs(plane, instance_id) for instance_id in instance_ids) and bool(instance_ids),
        timeout=timeout,
        what=f"{', '.join(instance_ids) or 'no instance at all'} running",
    )
    return [container for instance_id in instance_ids if (container := plane.container(instance_id))]


def gone(plane: ControlPlane, *instance_ids: str, timeout: float = 20) -> None:
    """Wait until neither a container nor a root volume is left of any of these instances."""

    def left() -> list[str]:
        volumes = set(plane.volumes())
        mine = [f"container {i}" for i in instance_ids if plane.container(i) is not None]
        return mine + [f"volume {i}" for i in instance_ids if names.root_volume_name(i) in volumes]

    assert instance_ids
    eventually(lambda: not left(), timeout=timeout, what=f"nothing left of {', '.join(instance_ids)}")


def instances(client: Any, **filters: str) -> list[dict[str, Any]]:
    """DescribeInstances by filters (``__`` stands for ``:``, ``_`` for ``-``), the terminated ones left out."""
    chosen = [{"Name": name.replace("__", ":").replace("_", "-"), "Values": [value]} for name, value in filters.items()]
    pages = client.get_paginator("describe_instances").paginate(Filters=chosen)
    found = [i for page in pages for reservation in page["Reservations"] for i in reservation["Instances"]]
    return [instance for instance in found if instance["State"]["Name"] not in ("terminated", "shutting-down")]


def describe(client: Any, instance_id: str) -> dict[str, Any]:
    """One instance as DescribeInstances has it."""
    answer = client.describe_instances(InstanceIds=[instance_id])
    return dict(answer["Reservations"][0]["Instances"][0])


def tags(instance: dict[str, Any]) -> dict[str, str]:
    """The tags of a described instance."""
    return {tag["Key"]: tag["Value"] for tag in instance.get("Tags") or []}


def launch(client: Any, count: int = 1, **arguments: Any) -> list[str]:
    """RunInstances; the ids."""
    answer = client.run_instances(**{"ImageId": "ami-12c6146b", "MinCount": count, "MaxCount": count, **arguments})
    return [instance["InstanceId"] for instance in answer["Instances"]]


def until_user_data(plane: ControlPlane, instance_id: str, path: str = "/ran") -> str:
    """Wait until a user data script has written a file; what is in it."""
    running(plane, instance_id)

    def content() -> str:
        code, text = plane.execute(instance_id, "cat", path)
        return text if code == 0 else ""

    return eventually(content, what=f"{path} on {instance_id}")


def stray(plane: ControlPlane, instance_id: str, owner: str) -> str:
    """A container that looks like an instance's and has no record; owner is the control plane on its label."""
    key, _, value = plane.label.partition("=")
    record = {"image_id": "ami-12c6146b", "instance_type": "t3.small", "tags": {"Name": f"stray-{instance_id}"}}
    labels = {
        key: value,
        names.LABEL_CONTROL_PLANE: owner,
        names.LABEL_ACCOUNT: "123456789012",
        names.LABEL_REGION: "us-east-1",
        names.LABEL_RECORD: json.dumps(record),
    }
    image = images.local(plane.engine, build.TINY_IMAGE)
    assert image is not None
    containers.create(plane.engine, ContainerSpec(instance_id, build.TINY_IMAGE, labels=labels), image)
    containers.start(plane.engine, instance_id)
    return instance_id
